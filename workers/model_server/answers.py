"""The model's answer as a value, and its two wire forms: one completion, or the chunks of a stream.

Never decides what the answer is, and knows no connection.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from workers.model_server.conversation import ChatRequest, Conversation, ToolResult
from workers.model_server.faults import Fault, FaultKind

PIECE_LENGTH = 8
"""Texts and arguments are streamed in pieces of so many characters, so that a client must put them together."""


@dataclass(frozen=True)
class Call:
    """A tool call that the model asks for; `arguments` is JSON text (or, under a fault, no longer)."""

    call_id: str
    tool_name: str
    arguments: str


@dataclass(frozen=True)
class Answer:
    """What the model says: a text, tool calls, or both; and the rule and fault that it comes from."""

    text: str | None = None
    calls: tuple[Call, ...] = ()
    is_withheld: bool = False
    rule: str | None = None
    fault: Fault | None = None

    @property
    def finish_reason(self) -> str:
        """Why the answer ends, in the words of the wire."""
        if self.is_withheld:
            return "content_filter"
        return "tool_calls" if self.calls else "stop"


class Answerer(Protocol):
    """Where answers come from: a script or a local model. Called from several threads at once."""

    model_id: str

    def answer(self, request: ChatRequest, conversation: Conversation) -> Answer:
        """Answer one request; the same request gets the same answer again."""
        ...


def compose_from_results(results: tuple[ToolResult, ...]) -> str:
    """Say what the tools returned, for models and rules that have no words of their own."""
    if len(results) == 1:
        return f"{results[0].tool_name} returned: {results[0].content}"
    return "\n".join(f"{result.tool_name}({result.arguments}) returned: {result.content}" for result in results)


def spoil(answer: Answer, fault: Fault) -> Answer:
    """Apply the faults that lie in the answer itself; any other fault leaves it as it is."""
    if fault.kind is FaultKind.CONTENT_FILTER:
        return replace(answer, text=None, calls=(), is_withheld=True)
    if fault.kind is FaultKind.MALFORMED_ARGUMENTS:
        return replace(answer, calls=tuple(replace(call, arguments=call.arguments[:-1]) for call in answer.calls))
    if fault.kind is FaultKind.UNKNOWN_TOOL and answer.calls:
        first, *others = answer.calls
        return replace(answer, calls=(replace(first, tool_name=fault.tool), *others))
    return answer


@dataclass(frozen=True)
class Envelope:
    """What surrounds an answer on the wire: who answers, when, and what it is said to cost."""

    completion_id: str
    created: int
    model: str
    prompt_tokens: int

    def usage(self, answer: Answer) -> dict[str, int]:
        """Count about four characters as a token: no real price, but it grows with the conversation as a real one."""
        length = len(answer.text or "") + sum(len(call.tool_name) + len(call.arguments) for call in answer.calls)
        completion_tokens = length // 4 + 1
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
        }

    def completion(self, answer: Answer) -> dict[str, Any]:
        """The whole answer as one object."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.calls:
            message["tool_calls"] = [
                {"id": call.call_id, "type": "function", "function": _function(call.tool_name, call.arguments)}
                for call in answer.calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
        return self._frame("chat.completion", [choice]) | {"usage": self.usage(answer)}

    def chunks(self, answer: Answer, *, include_usage: bool) -> Iterator[dict[str, Any]]:
        """The answer bit by bit: the role, the text, each call's head and then its arguments, the finish reason."""
        usage: dict[str, Any] = {"usage": None} if include_usage else {}
        for delta in _deltas(answer):
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
            yield self._frame("chat.completion.chunk", [choice]) | usage
        last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": answer.finish_reason}
        yield self._frame("chat.completion.chunk", [last]) | usage
        if include_usage:
            yield self._frame("chat.completion.chunk", []) | {"usage": self.usage(answer)}

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.completion_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if answer.calls and not answer.text else ""}
    for piece in _pieces(answer.text or ""):
        yield {"content": piece}
    for index, call in enumerate(answer.calls):
        yield {
            "tool_calls": [
                {"index": index, "id": call.call_id, "type": "function", "function": _function(call.tool_name, "")}
            ]
        }
        for piece in _pieces(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_LENGTH):
        yield text[start : start + PIECE_LENGTH]


def as_server_sent_event(value: dict[str, Any]) -> str:
    """Render one chunk as the line of a server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
