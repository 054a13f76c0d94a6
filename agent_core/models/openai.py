"""`OpenAIChat`: chat completions over the `openai` SDK, at OpenAI or any compatible endpoint.

Never loads the SDK before the first call, and never reads the environment before that either.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from agent_core.errors import ModelError
from agent_core.models.base import ModelReply, ModelRequest
from agent_core.models.openai_wire import StreamReader, read_completion, request_body

if TYPE_CHECKING:  # for annotations only, see above
    from openai import AsyncOpenAI, OpenAI

_CONNECTION = ("id", "api_key", "organization", "base_url", "timeout", "max_retries", "default_headers", "_clients")
_STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


class _Clients:
    """The SDK's clients of one model: one for all threads, and one for each event loop, closed when that ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: OpenAI | None = None
        self._by_loop: dict[asyncio.AbstractEventLoop, tuple[AsyncOpenAI, AsyncGenerator[None, None]]] = {}

    def client(self, settings: dict[str, Any]) -> "OpenAI":
        from openai import OpenAI  # noqa: PLC0415 - takes more than half a second

        with self._lock:
            if self._client is None:
                self._client = OpenAI(**settings)
            return self._client

    async def aclient(self, settings: dict[str, Any]) -> "AsyncOpenAI":
        from openai import AsyncOpenAI  # noqa: PLC0415 - as above

        loop = asyncio.get_running_loop()
        with self._lock:
            for closed in [known for known in self._by_loop if known.is_closed()]:
                del self._by_loop[closed]
            if loop in self._by_loop:
                return self._by_loop[loop][0]
            client = AsyncOpenAI(**settings)
            # Connections belong to the loop that made them. A loop finishes the async generators begun in it before it
            # closes, so a generator is the one place from which the client can be closed in time.
            keeper = self._keep(client, loop)
            self._by_loop[loop] = client, keeper
        await anext(keeper)
        return client

    async def _keep(self, client: "AsyncOpenAI", loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._by_loop.pop(loop, None)
            await client.close()


@dataclass(frozen=True, eq=False)
class OpenAIChat:
    """A model behind a chat completions endpoint. What is None is left to the endpoint; unknown names are refused.

    Without `api_key` the environment's OPENAI_API_KEY counts; an endpoint of one's own (`base_url`) may need none.
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
    _clients: _Clients = field(default_factory=_Clients, init=False, repr=False)

    def reply(self, request: ModelRequest) -> ModelReply:
        """Return the reply; `ModelError` if the endpoint gives none."""
        client = self._clients.client(self._connection())
        try:
            completion = client.chat.completions.create(**self._body(request))
            return read_completion(completion, model=self.id)
        except _sdk_errors() as error:
            raise self._fault(error) from error

    async def areply(self, request: ModelRequest) -> ModelReply:
        """Do as `reply`."""
        client = await self._clients.aclient(self._connection())
        try:
            completion = await client.chat.completions.create(**self._body(request))
            return read_completion(completion, model=self.id)
        except _sdk_errors() as error:
            raise self._fault(error) from error

    def stream(self, request: ModelRequest) -> Generator[str | ModelReply, None, None]:
        """Yield the text as it comes, then the reply; `ModelError` if the stream breaks off."""
        client, reader = self._clients.client(self._connection()), StreamReader(model=self.id)
        try:
            with client.chat.completions.create(**self._body(request), **_STREAM) as chunks:
                for chunk in chunks:
                    if text := reader.feed(chunk):
                        yield text
        except _sdk_errors() as error:
            raise self._fault(error) from error
        yield reader.reply()

    async def astream(self, request: ModelRequest) -> AsyncGenerator[str | ModelReply, None]:
        """Do as `stream`."""
        client, reader = await self._clients.aclient(self._connection()), StreamReader(model=self.id)
        try:
            async with await client.chat.completions.create(**self._body(request), **_STREAM) as chunks:
                async for chunk in chunks:
                    if text := reader.feed(chunk):
                        yield text
        except _sdk_errors() as error:
            raise self._fault(error) from error
        yield reader.reply()

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        named = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in _CONNECTION}
        given = {name: value for name, value in named.items() if value is not None}
        if not request.tools:
            given.pop("parallel_tool_calls", None)  # refused by endpoints where there are no tools
        return {"model": self.id, **given, **request_body(request)}

    def _connection(self) -> dict[str, Any]:
        api_key = self.api_key or os.environ.get("OPENAI_API_KEY")
        base_url = self.base_url or os.environ.get("OPENAI_BASE_URL")
        if not api_key and not base_url:
            raise ModelError(
                f"There is no API key for model {self.id!r}. Set the environment variable OPENAI_API_KEY, or pass "
                "OpenAIChat(api_key=...); for an endpoint of your own pass base_url=. To try things out without any "
                "model, use ScriptedModel from agent_core.models.scripted."
            )
        optional = {
            "base_url": base_url,
            "organization": self.organization,
            "timeout": self.timeout,
            "max_retries": self.max_retries,
            "default_headers": self.default_headers,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return {"api_key": api_key or "none", **given}

    def _fault(self, error: Exception) -> ModelError:
        """Return the error in a sentence that names the model and the way out."""
        import openai  # noqa: PLC0415 - loaded already, since it raised

        reason = getattr(error, "message", None) or str(error) or type(error).__name__
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                text = (
                    f"The endpoint of model {self.id!r} refused the API key: {reason}. Check OPENAI_API_KEY or api_key="
                )
                return ModelError(text)
            case openai.NotFoundError():
                return ModelError(f"The endpoint does not know model {self.id!r}: {reason}. Check id= and base_url=.")
            case openai.APITimeoutError():
                text = f"Model {self.id!r} did not answer in time. Raise timeout=, or ask for less."
                return ModelError(text, retryable=True)
            case openai.APIStatusError(status_code=status):
                text = f"The endpoint of model {self.id!r} answered with status {status}: {reason}"
                return ModelError(text, retryable=status in (408, 409, 429) or status >= 500)
            case openai.APIConnectionError():
                cause = error.__cause__ or reason
                text = f"The endpoint of model {self.id!r} could not be reached ({cause}). Check base_url= and network."
                return ModelError(text, retryable=True)
        text = f"Model {self.id!r} gave no usable reply. {type(error).__name__}: {reason}"
        return ModelError(text, retryable=True)


def _sdk_errors() -> tuple[type[Exception], ...]:
    """Return what the SDK raises: its own errors, the transport's, and those of reading what is no JSON."""
    import httpx2  # noqa: PLC0415 - comes with the SDK
    import openai  # noqa: PLC0415 - as above

    return (openai.OpenAIError, httpx2.HTTPError, ValueError)
