"""Ends a run from outside: it was cancelled, has expired, or has killed too many workers. Never carries one on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import redis

from agent_core.cancelling import cancel
from agent_core.events import RunCancelled, RunError, RunEvent
from agent_core.run import RunSnapshot, RunStatus
from agent_core.snapshot_log import split
from agent_core.telemetry import emit
from agent_core.tools.execution import CallOutcome, CallResult
from queues import keys
from queues.dead_letters import DeadLetter
from queues.scripts import Scripts
from queues.stored_events import stored_event
from queues.timing import milliseconds

EndWord = Literal["ended", "requested", "finished", "missing", "changed"]

# How a holder that is told to stop learns that the run is not cancelled, but has run out of time.
EXPIRED = "expired"


@dataclass(frozen=True)
class Ending:
    """The end that a run is to have: its last snapshot, what its readers are told, and why."""

    snapshot: RunSnapshot
    event: RunEvent
    reason: str
    cancels_calls: bool = True
    letter: DeadLetter | None = None


class Endings:
    """Writes ends down. One that is repeated finds the run finished and changes nothing."""

    def __init__(self, connection: redis.Redis) -> None:
        self._scripts = Scripts(connection)

    def end(self, ending: Ending, *, retention_seconds: float) -> EndWord:
        """`ended`; `requested` if a worker holds the run and was told; `changed` if there is a newer snapshot."""
        snapshot, run_id = ending.snapshot, ending.snapshot.run_id
        stored = split(snapshot)
        word = self._scripts.word(
            "end_run",
            [
                keys.run(run_id),
                keys.events(run_id),
                keys.DUE,
                keys.DEADLINES,
                keys.EXPIRING,
                keys.DEAD,
                keys.DEAD_LETTERS,
                keys.WEBHOOKS,
                keys.WEBHOOKS_WAKE,
                keys.STATES,
            ],
            [
                snapshot.version,
                stored.head,
                stored.log,
                run_id,
                snapshot.status.value,
                ending.reason,
                milliseconds(retention_seconds),
                "1" if ending.cancels_calls else "",
                ending.letter.to_json() if ending.letter is not None else "",
                stored_event(ending.event),
            ],
        )
        if word == "ended":
            _tell_ended(snapshot)
        match word:
            case "ended" | "requested" | "finished" | "missing" | "changed":
                return word
            case _:
                raise ValueError(f"end_run answered {word!r}")


def _tell_ended(snapshot: RunSnapshot) -> None:
    emit(
        "run.ended",
        run_id=snapshot.run_id,
        agent=snapshot.output.agent_name,
        step=snapshot.step,
        status=snapshot.status.value,
        age_seconds=(datetime.now(UTC) - snapshot.output.created_at).total_seconds(),
        traceparent=snapshot.traceparent,
        trace_began_at=snapshot.trace_began_at,
    )


def cancelled(snapshot: RunSnapshot, *, reason: str) -> Ending:
    """The end of a run that its producer no longer wants."""
    if not snapshot.status.is_finished:
        cancel(snapshot)
    if reason:
        snapshot.output.error = f"The run was cancelled: {reason}"
    return Ending(snapshot, _told(RunCancelled, snapshot), reason or "cancelled")


def expired(snapshot: RunSnapshot) -> Ending:
    """The end of a run whose deadline has passed, or for which people took too long. A retry tells the model so."""
    waited = ", ".join(call.tool_name for call in snapshot.pending)
    text = f"expired: nobody answered {waited} in time" if waited else "expired: the run was not done by its deadline"
    for call in snapshot.pending:
        call.settle(CallResult(outcome=CallOutcome.EXPIRED, content="No answer came in time."))
    return Ending(failed(snapshot, text), _told(RunError, snapshot), EXPIRED)


def buried(snapshot: RunSnapshot, *, deaths: int) -> Ending:
    """The end of a run whose holders died again and again; its calls are left alone, for it may be retried."""
    text = f"buried: {deaths} workers died while they held this run; `errandry dead requeue` tries again"
    letter = DeadLetter(id=snapshot.run_id, kind="run", run_id=snapshot.run_id, reason=text)
    return Ending(failed(snapshot, text), _told(RunError, snapshot), "buried", cancels_calls=False, letter=letter)


def failed(snapshot: RunSnapshot, reason: str) -> RunSnapshot:
    """The same snapshot, ended in ERROR for the given reason."""
    snapshot.output.status, snapshot.output.error = RunStatus.ERROR, reason
    return snapshot


def _told(kind: type[RunEvent], snapshot: RunSnapshot) -> RunEvent:
    output = snapshot.output
    return kind(
        run_id=output.run_id,
        agent_name=output.agent_name,
        session_id=output.session_id,
        step=snapshot.step,
        content=output.error,
    )


def failure_event(snapshot: RunSnapshot) -> RunEvent:
    """What the readers of a run that ended in ERROR are told."""
    return _told(RunError, snapshot)
