"""Which runs stand still, and why: dead holders, messages nobody acts on, parked runs, dead letters. Mends nothing.

Looks at the newest runs and at those that the sweep is late for, through the indexes; never at all keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from agent_core.run import RunStatus
from queues import keys
from queues.checkup import NAMED, Finding, counted, ok, problem, warning
from queues.dead_letters import DeadLetters
from queues.leases import worker_of
from queues.replies import answers, last_entry_id, newest, now_ms, overdue
from queues.timing import Timing, milliseconds

PATIENCE_SECONDS = 30.0
"""What the sweep and a worker that has time would have done long ago."""

_REPUSH_CAP_MS = 300_000  # as in lua/prelude.lua
_FIELDS = ("status", "agent", "owner", "lease_until", "repushes", "parked", "waiting", "created", "lane")
_START_WORKER = "start an agent worker that has these agents, or see in its log and in Flower what it is busy with"


@dataclass(frozen=True)
class UnfinishedRun:
    """What the hash of a run says of where it stands. Times are the server's, in milliseconds."""

    run_id: str
    status: RunStatus
    agent: str
    owner: str
    lease_until: int
    repushes: int
    parked: str | None
    waiting: str
    created: int


class RunCheckup:
    """One look at the runs of a server. `limit` bounds how many are looked at."""

    def __init__(
        self,
        connection: redis.Redis,
        *,
        timing: Timing,
        pools: Sequence[str],
        limit: int,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._connection = connection
        self._timing = timing
        self._pools = pools
        self._limit = limit
        self._patience_seconds = patience_seconds

    def findings(self) -> Iterator[Finding]:
        """What stands still, counted and named; one finding for each cause."""
        now = now_ms(self._connection)
        runs = self.unfinished()
        total = int(self._connection.zcard(keys.RUNS))
        looked = f"{counted(len(runs), 'unfinished run')} among the newest {min(self._limit, total)} of {total}"
        stuck = [*self._parked(runs), *self._dead_holders(runs, now), *self._unheard(runs, now)]
        yield from stuck or [ok("runs.stuck", f"no run stands still ({looked})")]
        yield self._dead_letters()
        yield from self._webhooks(now)
        yield self._sweep(now)

    def unseen(self) -> int:
        """How many runs are older than those that `unfinished` looks at."""
        return max(0, int(self._connection.zcard(keys.RUNS)) - self._limit)

    def unfinished(self) -> list[UnfinishedRun]:
        """The runs to look at that have not ended: those that are overdue, and those among the newest."""
        overdue_runs = overdue(self._connection, keys.DUE, self._limit)
        run_ids = list(dict.fromkeys([*overdue_runs, *newest(self._connection, keys.RUNS, self._limit)]))
        with self._connection.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.hmget(keys.run(run_id), list(_FIELDS))
            rows = cast(list[list[str | None]], pipeline.execute())
        runs = (_unfinished(run_id, row) for run_id, row in zip(run_ids, rows, strict=True))
        return [run for run in runs if run is not None]

    def _parked(self, runs: Sequence[UnfinishedRun]) -> Iterator[Finding]:
        parked = [f"{run.run_id}: {run.parked}" for run in runs if run.parked is not None]
        if parked:
            yield warning(
                "runs.parked",
                f"no worker at hand can carry on {counted(len(parked), 'run')}",
                "start an agent worker whose code has what is missing; parked runs are offered to it within seconds",
                parked,
            )

    def _dead_holders(self, runs: Sequence[UnfinishedRun], now: int) -> Iterator[Finding]:
        orphans = [
            f"{run.run_id}: {run.owner} stopped renewing its lease {self._ago(now, run.lease_until)}"
            for run in runs
            if run.status is RunStatus.RUNNING and self._is_long_ago(now, run.lease_until)
        ]
        if orphans:
            text = f"the workers of {counted(len(orphans), 'running run')} are dead, and no other takes over"
            yield problem("runs.orphaned", text, _START_WORKER, orphans)

    def _unheard(self, runs: Sequence[UnfinishedRun], now: int) -> Iterator[Finding]:
        """Runs that could go on, if only somebody acted on their messages."""
        pending: list[str] = []
        answered: list[str] = []
        for run in runs:
            if run.parked is not None or run.status is RunStatus.RUNNING:
                continue
            told = answers(self._connection, run.waiting) if run.status is RunStatus.PAUSED else {}
            if any(None in answered for answered in told.values()):
                continue
            since = self._ready_since(run)
            if self._is_long_ago(now, since):
                found = pending if run.status is RunStatus.PENDING else answered
                found.append(f"{run.run_id}: agent {run.agent}, ready {self._ago(now, since)}")
        if pending:
            text = f"no agent worker has taken {counted(len(pending), 'pending run')}"
            yield warning("runs.pending", text, _START_WORKER, pending)
        if answered:
            text = f"{counted(len(answered), 'paused run')} had all answers long ago, and nobody continues"
            yield problem("runs.answered", text, _START_WORKER, answered)

    def _sweep(self, now: int) -> Finding:
        limit = str(now - milliseconds(self._patience_seconds))
        late = sum(
            int(self._connection.zcount(index, "-inf", limit))
            for index in (keys.DUE, keys.DEADLINES, keys.UNAPPROVED, *map(keys.pool_due, self._pools))
        )
        if not late:
            return ok("runs.sweep", "the sweep is up to date")
        return problem(
            "runs.sweep",
            f"{counted(late, 'run')} or calls should have been looked at by the sweep {self._patience_seconds:g} s ago",
            "the sweep runs inside the agent workers: start one, whose errandry.toml lists all pools",
        )

    def _dead_letters(self) -> Finding:
        number = int(self._connection.zcard(keys.DEAD))
        if not number:
            return ok("runs.dead", "there are no dead letters")
        letters = DeadLetters(self._connection, timing=self._timing).latest(limit=NAMED)
        return warning(
            "runs.dead",
            f"{counted(number, 'dead letter')}: what killed its workers too often, was refused or undeliverable",
            "see `errandry dead list`; once the cause is mended, `errandry dead requeue ID`",
            [f"{letter.id}: {letter.reason}" for letter in letters],
        )

    def _webhooks(self, now: int) -> Iterator[Finding]:
        """Announcements that a gateway would have tried long ago; what is put off after a failed try is not due."""
        late = int(self._connection.zcount(keys.WEBHOOKS, "-inf", now - milliseconds(self._patience_seconds)))
        if late:
            yield warning(
                "runs.webhooks",
                f"{counted(late, 'webhook')} should have been posted {self._patience_seconds:g} s ago",
                "start `errandry gateway`: it is the one that posts them; or see in its log what holds it up",
            )

    def _ready_since(self, run: UnfinishedRun) -> int:
        """Since when the run could go on: the newest of what was told of it and what the due index says."""
        streams = [keys.events(run.run_id), *(keys.part_events(pool, run.run_id) for pool in self._pools)]
        told = (last_entry_id(self._connection, stream) for stream in streams)
        times = [run.created, *(int(entry_id.partition("-")[0]) for entry_id in told if entry_id is not None)]
        due = self._connection.zscore(keys.DUE, run.run_id)
        if due is not None:
            # The due time less all waits since the first message, each twice the one before.
            first = milliseconds(self._timing.repush_seconds)
            waits = (min(first * 2**count, _REPUSH_CAP_MS) for count in range(run.repushes))
            times.append(round(float(due)) - first - sum(waits))
        return max(times)

    def _is_long_ago(self, now: int, moment: int) -> bool:
        return now - moment > milliseconds(self._patience_seconds)

    def _ago(self, now: int, moment: int) -> str:
        return f"{(now - moment) / 1000:.0f} s ago"


def _unfinished(run_id: str, row: Sequence[str | None]) -> UnfinishedRun | None:
    status, agent, owner, lease_until, repushes, parked, waiting, created, lane = row
    # Runs of agents in plain processes have no lane: no worker may carry them on, so none is to blame.
    if status is None or lane is None or RunStatus(status).is_finished:
        return None
    return UnfinishedRun(
        run_id=run_id,
        status=RunStatus(status),
        agent=agent or "",
        owner=worker_of(owner) or "a worker",
        lease_until=int(lease_until or 0),
        repushes=int(repushes or 0),
        parked=parked,
        waiting=waiting or "",
        created=int(created or 0),
    )
