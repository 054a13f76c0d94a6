"""Translates between the agent's messages and the chat completions format.

Never sends anything; it knows the shapes only.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from agent_core.errors import ModelError
from agent_core.messages import Message, ToolCall, Usage
from agent_core.models.base import ModelReply, ModelRequest

Wire = dict[str, Any]


def request_body(request: ModelRequest) -> Wire:
    """Return what the endpoint is asked, without the model's own parameters."""
    body: Wire = {"messages": [_message(message) for message in request.messages]}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
                | ({"strict": True} if tool.strict else {}),
            }
            for tool in request.tools
        ]
        if not request.may_call_tools:
            body["tool_choice"] = "none"
    if request.response_schema is not None:
        schema = {"name": request.response_schema.name, "schema": dict(request.response_schema.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def read_completion(completion: object, *, model: str) -> ModelReply:
    """Return the reply in a whole completion; `ModelError` if there is none in it."""
    choice = _first_choice(completion)
    message = choice.get("message")
    if not isinstance(completion, dict) or not isinstance(message, dict):
        raise ModelError(
            f"The endpoint of model {model!r} did not answer with a chat completion. Check base_url: it usually ends "
            "in /v1.",
        )
    calls = [
        ToolCall(id=call.get("id") or "", name=asked.get("name") or "", arguments=asked.get("arguments") or "")
        for call in _tables(message.get("tool_calls"))
        if isinstance(asked := call.get("function"), dict)
    ]
    return _reply(
        content=message.get("content"),
        refusal=message.get("refusal"),
        calls=calls,
        finish_reason=choice.get("finish_reason"),
        usage=read_usage(completion.get("usage")),
        model=model,
    )


class StreamReader:
    """Puts a streamed completion together. `feed` each chunk, then take the `reply`."""

    def __init__(self, *, model: str) -> None:
        self._model = model
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._finish_reason: str | None = None
        self._usage: object = None

    def feed(self, chunk: object) -> str:
        """Take in one chunk and return the text in it, empty if there is none."""
        if isinstance(chunk, dict):
            self._usage = chunk.get("usage") or self._usage
        choice = _first_choice(chunk)
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return ""
        for part in _tables(delta.get("tool_calls")):
            self._feed_call(part)
        self._refusal.append(delta.get("refusal") or "")
        text: str = delta.get("content") or ""
        self._text.append(text)
        return text

    @property
    def has_spoken(self) -> bool:
        """Whether any text was in the chunks so far."""
        return any(self._text)

    def reply(self) -> ModelReply:
        """Return the whole reply; `ModelError` if the stream broke off before that."""
        calls = [ToolCall(**fields) for _, fields in sorted(self._calls.items())]
        return _reply(
            content="".join(self._text) or None,
            refusal="".join(self._refusal) or None,
            calls=calls,
            finish_reason=self._finish_reason,
            usage=read_usage(self._usage),
            model=self._model,
        )

    def _feed_call(self, part: Wire) -> None:
        place, call_id = part.get("index"), part.get("id") or ""
        if place is None:  # some endpoints leave the index out: a new id then begins a new call
            place = len(self._calls) - (0 if call_id or not self._calls else 1)
        fields = self._calls.setdefault(place, {"id": "", "name": "", "arguments": ""})
        fields["id"] = fields["id"] or call_id
        asked = _table(part.get("function"))
        fields["name"] += asked.get("name") or ""
        fields["arguments"] += asked.get("arguments") or ""


def read_usage(usage: object) -> Usage:
    """Return the tokens of one model call; zeros where the endpoint does not count."""
    counted = _table(usage)
    prompt, completion = counted.get("prompt_tokens") or 0, counted.get("completion_tokens") or 0
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        total_tokens=counted.get("total_tokens") or prompt + completion,
        cached_tokens=_table(counted.get("prompt_tokens_details")).get("cached_tokens") or 0,
        reasoning_tokens=_table(counted.get("completion_tokens_details")).get("reasoning_tokens") or 0,
        model_calls=1,
    )


def _first_choice(answer: object) -> Wire:
    choices = _tables(_table(answer).get("choices"))
    return choices[0] if choices else {}


def _tables(value: object) -> Sequence[Wire]:
    """The objects in a list of the wire; endpoints leave lists out, or say null."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else ()


def _table(value: object) -> Wire:
    return value if isinstance(value, dict) else {}


def _reply(
    *,
    content: str | None,
    refusal: str | None,
    calls: Iterable[ToolCall],
    finish_reason: str | None,
    usage: Usage,
    model: str,
) -> ModelReply:
    if finish_reason is None:
        raise ModelError(
            f"The reply of model {model!r} broke off: it ended without a finish_reason. What came of it is not used.",
            retryable=True,
        )
    if finish_reason == "content_filter":
        raise ModelError(f"The provider's content filter stopped the reply of model {model!r}. Change the input.")
    return ModelReply(
        content=content, tool_calls=tuple(calls), usage=usage, finish_reason=finish_reason, refusal=refusal
    )


def _message(message: Message) -> Wire:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content or ""}
    wire: Wire = {"role": message.role, "content": message.content or ""}
    if message.tool_calls:
        wire["content"] = message.content  # null where the model said nothing but its calls
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return wire
