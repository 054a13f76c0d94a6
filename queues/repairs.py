"""What the sweep may do to due runs and calls, one atomic look at each; decides nothing about when to sweep."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

from agent_core.errors import RunNotFoundError
from agent_core.run import RunSnapshot
from agent_core.tools.execution import CallMetrics, CallOutcome, CallResult
from queues import keys
from queues.approvals import Approvals
from queues.calls import CallAddress, call_event
from queues.dead_letters import DeadLetter
from queues.endings import Ending, Endings, EndWord, buried, expired
from queues.envelopes import Envelope, call_envelope, continuation_envelope, start_envelope, stretch_task
from queues.leases import worker_of
from queues.refusals import collect
from queues.replies import fields, now_ms, overdue
from queues.runs import Runs
from queues.scripts import Scripts
from queues.timing import Timing, milliseconds
from queues.topology import lane_named, pool_queue

LOST = (
    "The worker that executed this call died. Whether the call took effect is unknown; "
    "it was not executed again. Check before you repeat it."
)
NOT_TAKEN = "No worker of pool {pool} took this call in time; it was not executed."
_PUT_OFF_SECONDS = 60.0
_PATIENCE_SECONDS = 1.0  # at least, for a busy machine is no silent server
_ALWAYS_MS = 1 << 52  # what Lua holds exactly
DEATHS_TO_BURY = 3  # as in lua/prelude.lua


class Repairs:
    """Puts right what lost messages and dead workers left behind. Several sweeps may run side by side."""

    def __init__(self, connection: redis.Redis, *, timing: Timing) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._runs = Runs(connection, timing=timing)
        self._endings = Endings(connection)
        self.approvals = Approvals(connection, timing=timing)
        self._timing = timing
        self._repush_ms = milliseconds(timing.repush_seconds)
        self._judges_until_ms = _ALWAYS_MS

    def begin_pass(self) -> None:
        """Let looks from now on judge holders by their leases for the time of one heartbeat, by the server's clock.

        Where messages were held up for longer, so were the holders' heartbeats, and all of them seem dead: a look that
        comes late judges nobody. If this very question took so long, redis.TimeoutError, as of a server that is away.
        """
        asked, patience_seconds = time.monotonic(), max(_PATIENCE_SECONDS, self._timing.heartbeat_seconds)
        now = now_ms(self._connection)
        if (took_seconds := time.monotonic() - asked) > patience_seconds:
            raise redis.TimeoutError(f"the server took {took_seconds:.1f} s to answer")
        self._judges_until_ms = now + milliseconds(patience_seconds)

    def due_runs(self, *, limit: int) -> list[str]:
        """Runs to look at now, the longest overdue first."""
        return overdue(self._connection, keys.DUE, limit)

    def due_calls(self, pool: str, *, limit: int) -> list[str]:
        """Entries of a pool's due set to look at now, the longest overdue first."""
        return overdue(self._connection, keys.pool_due(pool), limit)

    def glance_at(self, pool: str, *, limit: int) -> int:
        """Put off, in one step, looks at due calls that only wait in their queue behind others; returns how many.

        Answered parts of runs that have gone on are not looked at again.
        """
        postponed = self._scripts.run(
            "glance_at_pool",
            [keys.pool_due(pool)],
            [limit, self._repush_ms, keys.part_prefix(pool), pool_queue(pool), keys.RUN_PREFIX],
        )
        return postponed if isinstance(postponed, int) else 0

    def due_deadlines(self, *, limit: int) -> list[str]:
        """Runs whose deadline has passed, the longest overdue first."""
        return overdue(self._connection, keys.DEADLINES, limit)

    def put_off(self, due: str, entry: str) -> None:
        """Look at an entry of a due set again only after a while, because a look at it is impossible just now."""
        until = now_ms(self._connection) + milliseconds(_PUT_OFF_SECONDS)
        self._connection.zadd(due, {entry: until}, xx=True)

    def look_at_run(self, run_id: str) -> str:
        """Publish a run's start or continuation again if nobody acted on it, bury it if its holders keep dying.

        Says what was found.
        """
        return self._look_at_run(run_id)

    def _look_at_run(self, run_id: str, *, pool_due: str = keys.DUE, entry: str = "") -> str:
        """With the entry of a pool's due set that led here, which this look takes out."""
        envelope = self._run_envelope(run_id)
        word = self._scripts.word(
            "repush_run",
            [keys.run(run_id), keys.DUE, envelope.queue, pool_due],
            [run_id, envelope.render(), self._repush_ms, entry, self._judges_until_ms],
        )
        if word == "poisonous":
            word = self._end(run_id, lambda snapshot: buried(snapshot, deaths=DEATHS_TO_BURY))
            return "buried" if word == "ended" else "gone"  # another sweep was first
        return word

    def expire(self, run_id: str) -> str:
        """End a run whose deadline has passed; the holder of a running one is told to. Says what was found."""
        word = self._end(run_id, expired)
        if word == "requested":
            # Looked at again soon: the holder may die before it ends the run.
            again = now_ms(self._connection) + self._repush_ms
            self._connection.zadd(keys.DEADLINES, {run_id: again}, xx=True)
            return "told"
        self._connection.zrem(keys.DEADLINES, run_id)
        return "expired" if word == "ended" else "gone"

    def _end(self, run_id: str, ending: Callable[[RunSnapshot], Ending]) -> EndWord:
        word: EndWord = "changed"
        while word == "changed":
            try:
                snapshot = self._runs.load(run_id).snapshot
            except RunNotFoundError:
                return "missing"
            word = self._endings.end(ending(snapshot), retention_seconds=self._timing.retention_seconds)
        return word

    def collect_refused(self, pools: Sequence[str]) -> int:
        """Make dead letters of the messages that workers refused; returns how many."""
        return collect(self._connection, pools)

    def trim(self, *, limit: int) -> int:
        """Take out of the indexes what Redis has let go of; returns how many entries."""
        taken = self._scripts.run(
            "trim_indexes",
            [keys.EXPIRING, keys.RUNS, keys.DEAD, keys.DEAD_LETTERS, keys.WEBHOOKS, keys.STATES],
            [milliseconds(self._timing.retention_seconds), limit],
        )
        return taken if isinstance(taken, int) else 0

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
            return self._look_at_run(run_id, pool_due=keys.pool_due(pool), entry=entry)
        return self._sweep_call(CallAddress(pool, run_id, step, *call), entry)

    def _sweep_call(self, address: CallAddress, entry: str) -> str:
        owner_field = f"owner:{address.tool_call_id}"
        lane, owner, stretch = fields(self._connection, address.part, "lane", owner_field, "stretch")
        # From the run, not from the part: a pool does not choose what is published for it.
        agent, run_lane, waiting = fields(self._connection, keys.run(address.run_id), "agent", "lane", "waiting")
        continuation = continuation_envelope(agent or "", address.run_id, address.step, lane_named(run_lane))
        ids: Sequence[str | int] = (address.run_id, address.step, address.tool_call_id)
        parent_id = stretch_task(address.run_id, stretch)
        envelope = call_envelope(address.pool, address.tool_name, ids, lane_named(lane), parent_id=parent_id)
        letter = _letter(address)
        lost = _unexecuted(address, CallOutcome.LOST, LOST, worker=worker_of(owner))
        late = _unexecuted(address, CallOutcome.EXPIRED, NOT_TAKEN.format(pool=address.pool))
        return self._scripts.word(
            "sweep_call",
            [
                address.part,
                address.due,
                address.events,
                continuation.queue,
                envelope.queue,
                keys.DEADLINES,
                keys.DEAD,
                keys.DEAD_LETTERS,
            ],
            [
                address.tool_call_id,
                entry,
                envelope.render(),
                self._repush_ms,
                address.continuation_member,
                address.run_id,
                milliseconds(self._timing.people_seconds),
                letter.id,
                letter.to_json(),
                lost.model_dump_json(),
                _settled_event(address, lost),
                late.model_dump_json(),
                _settled_event(address, late),
                continuation.render(),
                milliseconds(self._timing.retention_seconds),
                "yes" if _is_awaited(address, json.loads(waiting or "[]")) else "",
                self._judges_until_ms,
            ],
        )


def _is_awaited(address: CallAddress, parts: Sequence[Mapping[str, Any]]) -> bool:
    return any(part["key"] == address.part and address.tool_call_id in part["calls"] for part in parts)


def _unexecuted(address: CallAddress, outcome: CallOutcome, content: str, *, worker: str | None = None) -> CallResult:
    return CallResult(outcome=outcome, content=content, metrics=CallMetrics(pool=address.pool, worker=worker))


def _settled_event(address: CallAddress, result: CallResult) -> str:
    return json.dumps(call_event("ToolCallSettled", address, worker=result.metrics.worker, outcome=result.outcome))


def _letter(address: CallAddress) -> DeadLetter:
    return DeadLetter(
        id=f"{address.run_id}:{address.step}:{address.tool_call_id}",
        kind="call",
        run_id=address.run_id,
        reason=f"{DEATHS_TO_BURY} workers of pool {address.pool} died while they executed {address.tool_name}",
        pool=address.pool,
        step=address.step,
        tool_call_id=address.tool_call_id,
        tool_name=address.tool_name,
    )
