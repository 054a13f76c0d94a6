"""Tells operators of calls that executors fetch over HTTP, in the words in which tool workers tell of theirs."""

from __future__ import annotations

import time

from agent_core.telemetry import emit
from agent_core.tools.execution import CallOutcome, CallResult
from queues.calls import CallAddress
from queues.executor_calls import LEVEL, LentCall
from workers.execution import tell_settled, told_of


def tell_handed_over(lent: LentCall) -> None:
    """An executor has the call, and may execute it from here on."""
    call, told = lent.call, told_of(lent.call.address)
    emit("call.claimed", **told, queue_wait_seconds=call.queue_wait_seconds)
    emit("call.begun", **told, attempt=call.attempt)


def tell_refused(lent: LentCall, result: CallResult, verdict: str) -> None:
    """No executor gets the call: it had its answer instead of being handed over."""
    call = lent.call
    emit("call.claimed", **told_of(call.address), queue_wait_seconds=call.queue_wait_seconds)
    tell_settled(call, result, verdict, since=time.monotonic() - call.queue_wait_seconds)


def tell_answer_to_nothing(address: CallAddress, outcome: CallOutcome) -> None:
    """An answer came to a call that the pool does not have (any more)."""
    emit(
        "call.settled", **told_of(address), attempt=0, outcome=outcome.value, verdict="missing", turnaround_seconds=0.0
    )


def tell_answered(lent: LentCall, result: CallResult, verdict: str, *, held_seconds: float) -> None:
    """What came of an answer. Of one that is sent again nothing is told, since it was told before."""
    call, is_held = lent.call, lent.is_held
    if is_held:
        emit(
            "call.executed",
            **told_of(call.address),
            attempt=call.attempt,
            outcome=result.outcome.value,
            # What the executor measured, but no more than can be.
            wall_seconds=min(result.metrics.wall_seconds or 0.0, held_seconds),
            sandbox_level=LEVEL,
        )
    if is_held or verdict not in ("settled", "last", "retry"):
        tell_settled(call, result, verdict, since=time.monotonic() - call.queue_wait_seconds - held_seconds)
