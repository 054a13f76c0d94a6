"""`OpenAIChat`: chat completions at OpenAI or any compatible endpoint.

Never loads the `openai` SDK before the first call, and never reads the environment before that either.
"""

import os
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agent_core.errors import ModelError
from agent_core.models.base import ModelReply, ModelRequest
from agent_core.models.openai_wire import Wire, request_body

if TYPE_CHECKING:  # for annotations only, see above
    from agent_core.models.openai_sdk import Endpoint

_CONNECTION = ("base_url", "organization", "timeout", "max_retries", "default_headers")
_OPTIONS = {"extra_headers": "headers", "extra_query": "params", "extra_body": "extra_json"}


@dataclass(frozen=True, eq=False)
class OpenAIChat:
    """A model behind a chat completions endpoint. What is None is left to the endpoint; unknown names are refused.

    Without `api_key` the environment's OPENAI_API_KEY counts; an endpoint of one's own (`base_url`) may need none.
    `timeout` is in seconds. `max_retries` counts what the SDK tries again by itself, waiting as long as the endpoint's
    Retry-After says.
    """

    id: str
    api_key: str | None = field(default=None, repr=False, kw_only=True)
    base_url: str | None = field(default=None, kw_only=True)
    organization: str | None = field(default=None, kw_only=True)
    timeout: float | None = field(default=None, kw_only=True)
    max_retries: int | None = field(default=None, kw_only=True)
    default_headers: Mapping[str, str] | None = field(default=None, repr=False, kw_only=True)
    temperature: float | None = field(default=None, kw_only=True)
    top_p: float | None = field(default=None, kw_only=True)
    max_tokens: int | None = field(default=None, kw_only=True)
    max_completion_tokens: int | None = field(default=None, kw_only=True)
    frequency_penalty: float | None = field(default=None, kw_only=True)
    presence_penalty: float | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    stop: str | Sequence[str] | None = field(default=None, kw_only=True)
    logit_bias: Mapping[str, int] | None = field(default=None, kw_only=True)
    parallel_tool_calls: bool | None = field(default=None, kw_only=True)
    reasoning_effort: str | None = field(default=None, kw_only=True)
    verbosity: str | None = field(default=None, kw_only=True)
    service_tier: str | None = field(default=None, kw_only=True)
    store: bool | None = field(default=None, kw_only=True)
    user: str | None = field(default=None, kw_only=True)
    extra_headers: Mapping[str, str] | None = field(default=None, repr=False, kw_only=True)
    extra_query: Mapping[str, object] | None = field(default=None, kw_only=True)
    extra_body: Mapping[str, object] | None = field(default=None, kw_only=True)

    def reply(self, request: ModelRequest) -> ModelReply:
        """Return the reply; `ModelError` if the endpoint gives none."""
        return self._endpoint.reply(self._body(request))

    async def areply(self, request: ModelRequest) -> ModelReply:
        """Do as `reply`."""
        return await self._endpoint.areply(self._body(request))

    def stream(self, request: ModelRequest) -> Generator[str | ModelReply, None, None]:
        """Yield the text as it comes, then the reply; `ModelError` if the stream breaks off."""
        return self._endpoint.stream(self._body(request))

    def astream(self, request: ModelRequest) -> AsyncGenerator[str | ModelReply, None]:
        """Do as `stream`."""
        return self._endpoint.astream(self._body(request))

    @cached_property
    def _endpoint(self) -> "Endpoint":
        from agent_core.models.openai_sdk import Endpoint  # noqa: PLC0415 - loads the SDK: more than half a second

        options = {option: value for name, option in _OPTIONS.items() if (value := getattr(self, name)) is not None}
        return Endpoint(self.id, connection=self._connection(), options=options)

    def _body(self, request: ModelRequest) -> Wire:
        given = {name: value for name in _PARAMETERS if (value := getattr(self, name)) is not None}
        if not request.tools:
            given.pop("parallel_tool_calls", None)  # refused by endpoints where there are no tools
        return {"model": self.id, **given, **request_body(request)}

    def _connection(self) -> dict[str, Any]:
        settings = {name: value for name in _CONNECTION if (value := getattr(self, name)) is not None}
        base_url = self.base_url or os.environ.get("OPENAI_BASE_URL")
        api_key = self.api_key or os.environ.get("OPENAI_API_KEY")
        if not api_key and not base_url:
            raise ModelError(
                f"There is no API key for model {self.id!r}. Set the environment variable OPENAI_API_KEY, or pass "
                "OpenAIChat(api_key=...); for an endpoint of your own pass base_url=. To try things out without any "
                "model, use ScriptedModel from agent_core.models.scripted."
            )
        return settings | {"api_key": api_key or "none"} | ({"base_url": base_url} if base_url else {})


_PARAMETERS = tuple(
    entry.name for entry in fields(OpenAIChat) if entry.name not in ("id", "api_key", *_CONNECTION, *_OPTIONS)
)
