"""What people decide, in the forms that the queue needs: what readers are told of an answer, what the record of a call
says of an approval, and the part that brings an approved call to its pool. Reads and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from agent_core.events import RunEvent, ToolCallAnswered, ToolCallSettled
from agent_core.run import RunSnapshot
from agent_core.telling import event_of
from agent_core.tools.execution import (
    CallAnswer,
    CallOutcome,
    CallResult,
    Confirmation,
    ToolExecution,
    UserInput,
    parse_answer,
)
from queues.envelopes import stretch_task
from queues.parts import Part
from queues.protocol import CallRequest
from queues.stored_runs import StoredRun


def answer_event(snapshot: RunSnapshot, call: ToolExecution, answer: CallAnswer) -> RunEvent:
    """What the run's readers are told: the call is settled by this answer, or goes on to be executed."""
    told = {"tool_call_id": call.tool_call_id, "tool_name": call.tool_name, "answered_by": answer.answered_by}
    match answer:
        case CallResult(outcome=outcome):
            return event_of(snapshot, ToolCallSettled, outcome=outcome, **told)
        case Confirmation(confirmed=False, note=note):
            return event_of(snapshot, ToolCallSettled, outcome=CallOutcome.DENIED, content=note or None, **told)
        case Confirmation(note=note, arguments=arguments):
            return event_of(
                snapshot, ToolCallAnswered, pool=call.pool, tool_args=arguments, content=note or None, **told
            )
        case UserInput():
            return event_of(snapshot, ToolCallAnswered, **told)


def with_decision(call: ToolExecution, answers: Sequence[str | None]) -> ToolExecution:
    """The call, with the decision of the person who approved it, if there is one among its answers."""
    decision = answers[0] if answers and call.requires_approval else None
    if decision is None:
        return call
    decided, answer = call.model_copy(), parse_answer(decision)
    if isinstance(answer, Confirmation):
        decided.take_confirmation(answer)
    return decided


def approved_part(
    run: StoredRun,
    call: ToolExecution,
    answer: Confirmation,
    *,
    request: str,
    queue_ms: str | None,
    stretch: str | None,
) -> str:
    """The part of the call's pool with this one call, as `hand_out_approved` of the scripts wants it.

    `request` is what the agent worker wrote down; the arguments of the answer, if it has some, take the place of its.
    """
    snapshot, pool = run.snapshot, call.pool or ""
    ids: dict[str, str | int] = {"run_id": snapshot.run_id, "step": call.step}
    approved = CallRequest.read(request, {**ids, "tool_call_id": call.tool_call_id, "tool_name": call.tool_name})
    if answer.arguments is not None:
        approved = approved.model_copy(update={"tool_args": answer.arguments})
    part = Part(
        pool=pool,
        run_id=snapshot.run_id,
        step=call.step,
        lane=run.lane,
        parent_id=stretch_task(snapshot.run_id, stretch),
        calls=(approved,),
        queue_seconds=None if queue_ms is None else int(queue_ms) / 1000,
    )
    return json.dumps(part.render(snapshot.output.agent_name))
