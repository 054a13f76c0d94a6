"""Translates between the agent's messages and the chat completions format.

Never sends anything; it knows the shapes only.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agent_core.errors import ModelError
from agent_core.messages import Message, ToolCall, Usage
from agent_core.models.base import ModelReply, ModelRequest

if TYPE_CHECKING:  # for annotations only: loading the SDK takes longer than all the rest of this package
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

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


def read_completion(completion: "ChatCompletion", *, model: str) -> ModelReply:
    """Return the reply in a whole completion; `ModelError` if there is none in it."""
    choices = getattr(completion, "choices", None)
    if not choices or choices[0].message is None:
        raise ModelError(
            f"The endpoint of model {model!r} did not answer with a chat completion. Check base_url: it usually ends "
            "in /v1.",
        )
    choice = choices[0]
    calls = [
        ToolCall(id=call.id or "", name=call.function.name or "", arguments=call.function.arguments or "")
        for call in choice.message.tool_calls or ()
        if call.type == "function" or getattr(call, "function", None) is not None
    ]
    return _reply(
        content=choice.message.content,
        refusal=choice.message.refusal,
        calls=calls,
        finish_reason=choice.finish_reason,
        usage=read_usage(completion.usage),
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
        self._usage: CompletionUsage | None = None

    def feed(self, chunk: "ChatCompletionChunk") -> str:
        """Take in one chunk and return the text in it, empty if there is none."""
        self._usage = getattr(chunk, "usage", None) or self._usage
        if not getattr(chunk, "choices", None):
            return ""
        choice = chunk.choices[0]
        self._finish_reason = choice.finish_reason or self._finish_reason
        if choice.delta is None:
            return ""
        for part in choice.delta.tool_calls or ():
            self._feed_call(part)
        self._refusal.append(choice.delta.refusal or "")
        text = choice.delta.content or ""
        self._text.append(text)
        return text

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

    def _feed_call(self, part: Any) -> None:
        place = part.index
        if place is None:  # some endpoints leave the index out: a new id then begins a new call
            place = len(self._calls) - (0 if part.id or not self._calls else 1)
        fields = self._calls.setdefault(place, {"id": "", "name": "", "arguments": ""})
        fields["id"] = fields["id"] or part.id or ""
        if part.function is not None:
            fields["name"] += part.function.name or ""
            fields["arguments"] += part.function.arguments or ""


def read_usage(usage: "CompletionUsage | None") -> Usage:
    """Return the tokens of one model call; zeros where the endpoint does not count."""
    if usage is None:
        return Usage(model_calls=1)
    prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        total_tokens=usage.total_tokens or prompt + completion,
        cached_tokens=getattr(usage.prompt_tokens_details, "cached_tokens", None) or 0,
        reasoning_tokens=getattr(usage.completion_tokens_details, "reasoning_tokens", None) or 0,
        model_calls=1,
    )


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
