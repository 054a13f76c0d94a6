"""What a chat completion request says: its wire form, and the conversation as rules and models look at it.

Never answers anything; it only refuses what a real provider refuses too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from workers.model_server.errors import BadRequestError


class RequestedFunction(BaseModel):
    """A tool call as it stands in an assistant's message: the arguments are JSON text."""

    name: str
    arguments: str


class RequestedCall(BaseModel):
    """A tool call that the model made earlier in the conversation."""

    id: str
    type: Literal["function"] = "function"
    function: RequestedFunction


class Message(BaseModel):
    """One message of the request; providers' further fields are accepted and ignored."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[RequestedCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text of the message, its parts joined; other kinds of parts are left out."""
        if isinstance(self.content, list):
            return "".join(str(part.get("text", "")) for part in self.content if part.get("type") == "text")
        return self.content or ""


class OfferedFunction(BaseModel):
    """The function of a tool on offer, with the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class OfferedTool(BaseModel):
    """A tool that the request allows the model to call."""

    type: Literal["function"]
    function: OfferedFunction


class StreamOptions(BaseModel):
    """How the caller wants the stream."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of POST /v1/chat/completions as far as this server reads it; sampling parameters are ignored."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Message] = Field(min_length=1)
    tools: list[OfferedTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    errandry_fault: str | None = None

    @property
    def offered(self) -> dict[str, OfferedFunction]:
        """The tools on offer by name, in the caller's order; none if the caller forbids tool calls."""
        if self.tool_choice == "none":
            return {}
        return {tool.function.name: tool.function for tool in self.tools or ()}

    @property
    def answer_schema(self) -> dict[str, Any]:
        """The JSON schema that the caller wants the answer to follow, or an empty one."""
        wanted = (self.response_format or {}).get("json_schema", {})
        schema = wanted.get("schema", {}) if isinstance(wanted, dict) else {}
        return schema if isinstance(schema, dict) else {}


@dataclass(frozen=True)
class ToolResult:
    """A tool call of the conversation together with what came of it."""

    tool_name: str
    arguments: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """The conversation as rules see it; `turn` counts the model's answers since the last user message."""

    first_prompt: str
    last_prompt: str
    turn: int
    steps: tuple[tuple[ToolResult, ...], ...]
    """The tool results since the last user message, grouped by the model's answer that asked for them."""

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The results that the conversation ends with; empty if the model has asked for nothing yet."""
        return self.steps[-1] if self.steps else ()

    @classmethod
    def read(cls, messages: Sequence[Message]) -> Self:
        """Understand the messages; raises BadRequestError where tool messages and tool calls do not fit together."""
        prompts: list[str] = []
        turn = 0
        steps: list[tuple[ToolResult, ...]] = []
        for position, message in enumerate(messages):
            if message.role == "user":
                prompts.append(message.text)
                turn, steps = 0, []
            elif message.role == "assistant":
                turn += 1
                if message.tool_calls:
                    steps.append(_results_of(message.tool_calls, messages[position + 1 :]))
        _refuse_orphans(messages)
        first, last = (prompts[0], prompts[-1]) if prompts else ("", "")
        return cls(first_prompt=first, last_prompt=last, turn=turn, steps=tuple(steps))


def _results_of(calls: Sequence[RequestedCall], following: Sequence[Message]) -> tuple[ToolResult, ...]:
    """Pair the calls of one answer with the tool messages right after it, in the order of the calls."""
    contents: dict[str, list[str]] = {}
    for message in following:
        if message.role != "tool":
            break
        contents.setdefault(message.tool_call_id or "", []).append(message.text)
    wanted = [call.id for call in calls]
    for call_id in contents:
        if len(contents[call_id]) != wanted.count(call_id):
            raise BadRequestError(
                f"The tool message for {call_id!r} answers no tool call of the message before it, or answers one twice."
            )
    missing = [call_id for call_id in wanted if call_id not in contents]
    if missing:
        raise BadRequestError(f"These tool calls have no tool message right after them: {', '.join(missing)}.")
    return tuple(
        ToolResult(tool_name=call.function.name, arguments=call.function.arguments, content=contents[call.id].pop(0))
        for call in calls
    )


def _refuse_orphans(messages: Sequence[Message]) -> None:
    may_follow = False
    for message in messages:
        if message.role == "tool" and not may_follow:
            raise BadRequestError(f"The tool message for {message.tool_call_id!r} follows no message with tool calls.")
        may_follow = message.role == "tool" or bool(message.role == "assistant" and message.tool_calls)
