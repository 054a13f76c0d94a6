"""`Model`, the seam behind which providers live, and what is asked and replied across it.

Never knows a tool beyond its schema, and never a run.
"""

from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent_core.messages import Message, ToolCall, Usage


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """A tool as the model is shown it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class ResponseSchema:
    """The JSON schema that the final reply must fit, in the strict dialect."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """One question to a model. `may_call_tools` False means: the tools are shown, but no more calls are wanted."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    response_schema: ResponseSchema | None = None
    may_call_tools: bool = True


@dataclass(frozen=True, kw_only=True)
class ModelReply:
    """One whole reply: text, tool calls, or both. `refusal` is set if the model declined, in its own words."""

    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=lambda: Usage(model_calls=1))
    finish_reason: str | None = None
    refusal: str | None = None


class Model(Protocol):
    """Replies to messages. All four ways give the same reply, and raise `ModelError` when there is none."""

    @property
    def id(self) -> str:
        """The name of the model, as the provider knows it."""

    def reply(self, request: ModelRequest) -> ModelReply:
        """Return the reply; blocks."""

    async def areply(self, request: ModelRequest) -> ModelReply:
        """Return the reply."""

    def stream(self, request: ModelRequest) -> Generator[str | ModelReply, None, None]:
        """Yield the text in pieces as it comes, and last, once, the whole reply."""

    def astream(self, request: ModelRequest) -> AsyncGenerator[str | ModelReply, None]:
        """Yield as `stream` does."""
