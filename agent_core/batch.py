"""Reads the tool calls of one model reply into records; what cannot be called is answered at once.

Never calls a tool.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue
from pydantic_core import from_json

from agent_core.errors import ArgumentsError, ModelError
from agent_core.identifiers import new_id
from agent_core.messages import ToolCall
from agent_core.spec import AgentSpec
from agent_core.text import well_formed
from agent_core.tools.execution import MAX_ARGUMENTS_BYTES, CallOutcome, CallResult, ToolExecution
from agent_core.tools.function import Function

_REFUSALS_BEFORE_END = 20
_EXCERPT = 200


@dataclass(frozen=True)
class Batch:
    """The calls of one step: as the conversation keeps them, and as they are recorded."""

    messages: tuple[ToolCall, ...]
    records: list[ToolExecution]


def read_batch(spec: AgentSpec, asked: Sequence[ToolCall], *, step: int, calls_before: int) -> Batch:
    """Return the batch, ids made unique. A call that cannot be made is settled here, with the reason for the model.

    `ModelError` if the model goes on asking long after its limit: otherwise such a run would never end.
    """
    limit = spec.tool_call_limit
    if limit is not None and calls_before >= limit + _REFUSALS_BEFORE_END:
        raise ModelError(f"The model goes on asking for tools past its tool_call_limit of {limit}; the run ends here.")
    kept, records = [], []
    for place, call in enumerate(_with_unique_ids(asked)):
        arguments, fault = _read_arguments(call)
        # Some endpoints parse the arguments of past calls: text that is no JSON object would break every later request.
        kept.append(call if arguments else call.model_copy(update={"arguments": "{}"}))
        record = ToolExecution(tool_call_id=call.id, tool_name=call.name, tool_args=arguments, step=step)
        records.append(record)
        if limit is not None and calls_before + place >= limit:
            refusal = f"The limit of {limit} tool calls is reached; nothing was executed. Answer without tools."
            record.settle(CallResult(outcome=CallOutcome.DENIED, content=refusal))
        elif (reason := fault or _misfit(spec, call, arguments)) is not None:
            record.settle(CallResult(outcome=CallOutcome.FAILED, content=reason))
        else:
            _mark_pause(record, spec.functions[call.name])
    return Batch(tuple(kept), records)


def _with_unique_ids(calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Return the calls with an id each; the first bearer of an id keeps it."""
    taken = {call.id for call in calls if call.id}
    seen: set[str] = set()
    result = []
    for call in calls:
        call_id = well_formed(call.id) or new_id("call")
        number = 2
        while call_id in seen or (call_id != call.id and call_id in taken):
            call_id, number = f"{call.id}_{number}", number + 1
        seen.add(call_id)
        name = well_formed(call.name)
        changed = (call_id, name) != (call.id, call.name)
        result.append(call.model_copy(update={"id": call_id, "name": name}) if changed else call)
    return result


def _read_arguments(call: ToolCall) -> tuple[dict[str, JsonValue], str | None]:
    raw = well_formed(call.arguments).encode()
    size = len(raw)
    if size > MAX_ARGUMENTS_BYTES:
        return {}, f"The arguments have {size} bytes; {MAX_ARGUMENTS_BYTES} are allowed. Send less at once."
    if not raw.strip():
        return {}, None
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        return {}, f"The arguments are not JSON ({error}). They began: {_excerpt(raw)}"
    if value is None:
        return {}, None
    if not isinstance(value, dict):
        return {}, f"The arguments must be a JSON object, not: {_excerpt(raw)}"
    return value, None


def _excerpt(raw: bytes) -> str:
    return repr(raw[:_EXCERPT].decode("utf-8", "ignore"))


def _misfit(spec: AgentSpec, call: ToolCall, arguments: dict[str, JsonValue]) -> str | None:
    function = spec.functions.get(call.name)
    if function is None:
        return f"There is no tool {call.name!r}. The tools are: {', '.join(spec.functions) or 'none'}."
    try:
        function.check(arguments)
    except ArgumentsError as error:
        return str(error)
    except Exception as error:  # a validator of the user's types may raise anything
        return f"The arguments of {call.name!r} could not be checked. {type(error).__name__}: {error}"
    return None


def _mark_pause(record: ToolExecution, function: Function) -> None:
    """Write down what the call waits for. A call that was refused is never marked: it waits for nothing."""
    record.external_execution_required = function.external_execution
    record.requires_confirmation = function.requires_confirmation
    record.requires_user_input = function.requires_user_input
    record.pool = function.pool
    record.schema_digest = function.schema_digest if function.pauses else None
    if function.requires_user_input:
        record.user_input_schema = [entry.model_copy() for entry in function.user_fields]
