"""Whether an answer is the one that a call was given already: a sender whose acknowledgement was lost sends it again.

Judges by the call's record alone, so it holds also once the run has gone on, or ended. Reads nothing.
"""

from __future__ import annotations

from agent_core.tools.execution import CallAnswer, CallResult, Confirmation, ToolExecution, UserInput


def is_repeat(call: ToolExecution, answer: CallAnswer) -> bool:
    """Whether the same person has answered this call with the same before; its record says so from the answer on."""
    return call.answered_at is not None and call.answered_by == answer.answered_by and _is_same(call, answer)


def _is_same(call: ToolExecution, answer: CallAnswer) -> bool:
    match answer:
        case CallResult():
            return (call.outcome, call.result) == (answer.outcome, answer.content)
        case Confirmation():
            proposed = call.tool_args if call.requested_args is None else call.requested_args
            decided = proposed if answer.arguments is None else answer.arguments
            return (call.confirmed, call.confirmation_note or "", call.tool_args) == (
                answer.confirmed,
                answer.note,
                decided,
            )
        case UserInput():
            given = {field.name: field.value for field in call.user_input_schema or ()}
            return given == {name: answer.values.get(name) for name in given}
