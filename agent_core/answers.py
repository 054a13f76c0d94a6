"""Answers to paused calls: read from what callers hold, checked, and written on the calls of a step.

Never saves anything, and changes nothing before everything is checked.
"""

from collections.abc import Iterable, Mapping

from agent_core.errors import ArgumentsError, InvalidAnswerError, MissingResultError, RunAlreadyContinuedError
from agent_core.run import RunSnapshot
from agent_core.tools.execution import (
    CallAnswer,
    CallMetrics,
    CallOutcome,
    CallResult,
    Confirmation,
    ToolExecution,
    UserInput,
    encode_result,
)
from agent_core.tools.function import Function


def collect_answers(snapshot: RunSnapshot, given: Iterable[ToolExecution]) -> dict[str, CallAnswer]:
    """Return the answers that the caller's records hold for the step under way, by tool call id.

    Records of earlier steps are the past and are skipped: providers reuse ids. Raises `TypeError` for a result that is
    no JSON, `InvalidAnswerError` for a call that the run never made, `RunAlreadyContinuedError` if all is of the past.
    """
    calls = {call.tool_call_id: call for call in snapshot.calls}
    records = list(given)
    if records and snapshot.step > max(record.step for record in records) > 0:
        raise RunAlreadyContinuedError(
            f"Run {snapshot.run_id!r} has gone on to step {snapshot.step}; these answers are for an earlier one."
        )
    answers: dict[str, CallAnswer] = {}
    for record in records:
        if record.step not in (0, snapshot.step):
            continue
        call = calls.get(record.tool_call_id)
        if call is None or call.tool_name != record.tool_name:
            raise InvalidAnswerError(
                f"Run {snapshot.run_id!r} has no call {record.tool_call_id!r} of tool {record.tool_name!r} in step "
                f"{snapshot.step}. Pass the tools of the run's latest output."
            )
        answer = None if call.is_settled else _read_answer(call, record)
        if answer is not None:
            signature = {"answered_by": record.answered_by, "answered_at": record.answered_at}
            answers[call.tool_call_id] = answer.model_copy(update=signature)
    return answers


def apply_answers(calls: Iterable[ToolExecution], answers: Mapping[str, CallAnswer]) -> list[ToolExecution]:
    """Write the answers on the calls and return those that are settled by it. Calls already settled stay as they are.

    An answer of the wrong kind is an `InvalidAnswerError`, before anything is written.
    """
    answered = [(call, answers[call.tool_call_id]) for call in calls if call.tool_call_id in answers]
    answered = [(call, answer) for call, answer in answered if not call.is_settled]
    for call, answer in answered:
        _check_kind(call, answer)
    for call, answer in answered:
        _apply(call, answer)
    return [call for call, _ in answered if call.is_settled]


def check_inputs(
    calls: Iterable[ToolExecution], answers: Mapping[str, CallAnswer], functions: Mapping[str, Function]
) -> None:
    """Check what people gave against the tools' types; `InvalidAnswerError` names tool, field and reason."""
    for call in calls:
        answer, function = answers.get(call.tool_call_id), functions.get(call.tool_name)
        if isinstance(answer, UserInput) and function is not None:
            try:
                function.check_all(call.tool_args | answer.values)
            except ArgumentsError as error:
                raise InvalidAnswerError(str(error)) from error


def missing_result(run_id: str, missing: Iterable[ToolExecution]) -> MissingResultError:
    """Return the error that names the calls without an answer, and what to do about each."""
    named = ", ".join(f"{call.tool_name!r} ({call.tool_call_id}: {_way_out(call)})" for call in missing)
    return MissingResultError(
        f"Run {run_id!r} cannot continue: no answer yet for tool {named}. Answers given so far are kept."
    )


def _way_out(call: ToolExecution) -> str:
    if call.external_execution_required:
        return "set tool.result, to a text such as 'done' if there is nothing to tell"
    return "confirm or reject it" if call.requires_confirmation else "provide its user input"


def _read_answer(call: ToolExecution, record: ToolExecution) -> CallAnswer | None:
    if call.external_execution_required:
        if record.result is None:
            return None
        outcome = record.outcome or (CallOutcome.FAILED if record.tool_call_error else CallOutcome.SUCCEEDED)
        content = encode_result(record.result, tool_name=call.tool_name)
        return CallResult(outcome=outcome, content=content, metrics=record.metrics or CallMetrics())
    if call.requires_confirmation:
        if record.confirmed is None:
            return None
        return Confirmation(confirmed=record.confirmed, note=record.confirmation_note or "")
    if not record.has_user_input:
        return None
    return UserInput(values={f.name: f.value for f in record.user_input_schema or () if f.value is not None})


def _check_kind(call: ToolExecution, answer: CallAnswer) -> None:
    fits = (
        isinstance(answer, CallResult)  # a result settles any call: a person or a deadline may stand in for it
        or (isinstance(answer, Confirmation) and (call.requires_confirmation or call.requires_approval))
        or (isinstance(answer, UserInput) and call.requires_user_input)
    )
    if not fits:
        raise InvalidAnswerError(f"The call {call.tool_call_id!r} of tool {call.tool_name!r} takes no {answer.kind}.")


def _apply(call: ToolExecution, answer: CallAnswer) -> None:
    match answer:
        case CallResult():
            call.settle(answer)
        case Confirmation(confirmed=confirmed, note=note):
            call.take_confirmation(answer)
            call.answered = True
            if not confirmed:
                refusal = "The user refused this call; it was not executed." + (f" They said: {note}" if note else "")
                call.settle(CallResult(outcome=CallOutcome.DENIED, content=refusal))
        case UserInput(values=values):
            for entry in call.user_input_schema or ():
                entry.value = values.get(entry.name)
            call.answered = True
            call.take_signature(answer)
