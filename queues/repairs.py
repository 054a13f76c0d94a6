"""What the sweep may do to due runs and calls, one atomic look at each; decides nothing about when to sweep."""

from __future__ import annotations

import json
from collections.abc import Sequence

import redis

from agent_core.tools.execution import CallMetrics, CallOutcome, CallResult
from queues import keys
from queues.calls import CallAddress, call_event
from queues.envelopes import Envelope, call_envelope, continuation_envelope, start_envelope
from queues.replies import fields, overdue
from queues.scripts import Scripts
from queues.timing import Timing, milliseconds
from queues.topology import lane_named

LOST = (
    "The worker that executed this call died. Whether the call took effect is unknown; "
    "it was not executed again. Check before you repeat it."
)


class Repairs:
    """Puts right what lost messages and dead workers left behind. Several sweeps may run side by side."""

    def __init__(self, connection: redis.Redis, *, timing: Timing) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._repush_ms = milliseconds(timing.repush_seconds)

    def due_runs(self, *, limit: int) -> list[str]:
        """Runs to look at now, the longest overdue first."""
        return overdue(self._connection, keys.DUE, limit)

    def due_calls(self, pool: str, *, limit: int) -> list[str]:
        """Entries of a pool's due set to look at now, the longest overdue first."""
        return overdue(self._connection, keys.pool_due(pool), limit)

    def look_at_run(self, run_id: str) -> str:
        """Publish a run's start or continuation again if nobody acted on it; says what was found."""
        envelope = self._run_envelope(run_id)
        return self._scripts.word(
            "repush_run",
            [keys.run(run_id), keys.DUE, envelope.queue],
            [run_id, envelope.render(), self._repush_ms],
        )

    def _run_envelope(self, run_id: str) -> Envelope:
        agent, lane, step = fields(self._connection, keys.run(run_id), "agent", "lane", "step")
        if step is None:
            return start_envelope(agent or "", run_id, lane_named(lane))
        return continuation_envelope(agent or "", run_id, int(step), lane_named(lane))

    def look_at_call(self, pool: str, entry: str) -> str:
        """Publish a call again if nobody took it, settle it as lost if its worker died; says what was found.

        An entry of a part that is answered, but whose continuation may have been lost, is a look at its run.
        """
        run_id, step, *call = json.loads(entry)
        if not call:
            self._connection.zrem(keys.pool_due(pool), entry)
            return self.look_at_run(run_id)
        return self._sweep_call(CallAddress(pool, run_id, step, *call), entry)

    def _sweep_call(self, address: CallAddress, entry: str) -> str:
        lane, agents_queue, owner = fields(
            self._connection, address.part, "lane", "agents_queue", f"owner:{address.tool_call_id}"
        )
        ids: Sequence[str | int] = (address.run_id, address.step, address.tool_call_id)
        envelope = call_envelope(address.pool, address.tool_name, ids, lane_named(lane), parent_id=address.run_id)
        lost = CallResult(outcome=CallOutcome.LOST, content=LOST, metrics=CallMetrics(pool=address.pool, worker=owner))
        event = call_event("ToolCallSettled", address, worker=owner, outcome=lost.outcome)
        return self._scripts.word(
            "sweep_call",
            [address.part, address.due, address.events, agents_queue or "", envelope.queue],
            [
                address.tool_call_id,
                entry,
                envelope.render(),
                lost.model_dump_json(),
                json.dumps(event),
                address.continuation_member,
                self._repush_ms,
            ],
        )
