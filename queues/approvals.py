"""Calls that wait for a person's approval for a limited time: the sweep settles those for which nobody came in time."""

from __future__ import annotations

import json

import redis

from agent_core.events import ToolCallSettled
from agent_core.tools.execution import CallOutcome, CallResult
from queues import keys
from queues.envelopes import continuation_envelope
from queues.replies import fields, overdue
from queues.scripts import Scripts
from queues.stored_events import stored_event
from queues.timing import Timing, milliseconds
from queues.topology import lane_named

NOT_APPROVED = "Nobody approved this call in time; it was not executed."


class Approvals:
    """The approvals that are overdue. A look that is repeated, or comes after an answer, changes nothing."""

    def __init__(self, connection: redis.Redis, *, timing: Timing) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._timing = timing

    def due(self, *, limit: int) -> list[str]:
        """Calls whose time is up, the longest overdue first."""
        return overdue(self._connection, keys.UNAPPROVED, limit)

    def look_at(self, entry: str) -> str:
        """Settle the call as expired, unless it was answered or its run has ended; says what was found.

        The model is told, and the run goes on once its other calls are answered.
        """
        pool, run_id, step, tool_call_id, tool_name = json.loads(entry)
        agent, lane = fields(self._connection, keys.run(run_id), "agent", "lane")
        continuation = continuation_envelope(agent or "", run_id, step, lane_named(lane))
        late = CallResult(outcome=CallOutcome.EXPIRED, content=NOT_APPROVED)
        event = ToolCallSettled(
            run_id=run_id,
            agent_name=agent or "",
            step=step,
            tool_call_id=tool_call_id,
            tool_name=tool_name,
            outcome=late.outcome,
        )
        return self._scripts.word(
            "expire_approval",
            [
                keys.approvals(pool, run_id, step),
                keys.UNAPPROVED,
                keys.run(run_id),
                keys.events(run_id),
                keys.DUE,
                continuation.queue,
                keys.DEADLINES,
                keys.STATES,
            ],
            [
                tool_call_id,
                entry,
                late.model_dump_json(),
                stored_event(event),
                run_id,
                milliseconds(self._timing.repush_seconds),
                continuation.render(),
                keys.answered_without(pool, late.outcome),
            ],
        )
