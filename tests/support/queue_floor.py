"""A run on the queue by hand, for tests of the scripts: snapshots, calls and their parts without any agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import redis

from agent_core.events import RunPaused
from agent_core.run import RunSnapshot, RunStatus
from agent_core.tools.execution import CallAnswer, CallResult, ToolExecution
from agent_core.tools.function import Function
from queues import keys
from queues.calls import CallAddress, Calls, ClaimedCall
from queues.claims import ClaimedRun, Claims
from queues.dead_letters import DeadLetters
from queues.parts import Part, Routing, parts_of
from queues.repairs import Repairs
from queues.runs import Runs
from queues.timing import Timing
from queues.topology import AGENTS_QUEUE

TIMING = Timing(lease_seconds=30, repush_seconds=30)
EXPIRED = Timing(lease_seconds=0, repush_seconds=0)  # every lease runs out at once, everything is due at once
DONE = CallResult(content="found")


def look_up(key: str) -> str:
    """Look something up."""
    return key


def pending_snapshot(agent: str = "ops") -> RunSnapshot:
    return RunSnapshot.create(agent_name=agent, input="hello")


def external(tool_call_id: str, pool: str | None = "shell") -> ToolExecution:
    return ToolExecution(
        tool_call_id=tool_call_id,
        tool_name="look_up",
        tool_args={"key": "x"},
        step=1,
        external_execution_required=True,
        pool=pool,
    )


def function(**settings: object) -> Function:
    return Function(name="look_up", entrypoint=look_up, external_execution=True, **settings)  # type: ignore[arg-type]


def at_step_one(snapshot: RunSnapshot, calls: Sequence[ToolExecution]) -> RunSnapshot:
    """The snapshot after a model call that asked for the given calls."""
    snapshot.step = 1
    snapshot.phase = "tools"
    snapshot.output.tools = list(calls)
    snapshot.output.status = RunStatus.RUNNING
    return snapshot


def parts(
    run: ClaimedRun,
    calls: Sequence[ToolExecution],
    tool: Function | None = None,
    *,
    queue_seconds: float | None = None,
    approvals: Mapping[str, float | None] | None = None,
) -> list[Part]:
    patience = {} if queue_seconds is None else {"shell": queue_seconds}
    return parts_of(
        run.run_id,
        calls,
        functions={"look_up": tool or function()},
        routing=Routing(pools={"look_up": "shell"}, queue_seconds=patience, approvals=approvals or {}),
        lane=run.lane,
        parent_id=run.run_id,
    )


def claimed(claims: Claims, run_id: str, owner: str = "agents@test") -> ClaimedRun:
    run = claims.claim(run_id, owner=owner)
    assert isinstance(run, ClaimedRun), run
    return run


def unsigned(answer: CallAnswer) -> CallAnswer:
    """The answer of a person without the time that the server wrote on it, which it must bear."""
    assert answer.answered_at is not None
    return answer.model_copy(update={"answered_at": None})


def address(run_id: str, tool_call_id: str, pool: str = "shell") -> CallAddress:
    return CallAddress(pool, run_id, 1, tool_call_id, "look_up")


class Floor:
    """The stores of one server, under one timing."""

    webhook_url: str | None = None  # of the runs that are submitted from now on

    def __init__(self, connection: redis.Redis) -> None:
        self.connection = connection
        self.runs = Runs(connection, timing=TIMING)
        self.claims = Claims(connection, timing=TIMING)
        self.calls = Calls(connection, timing=TIMING, worker="shell@test")
        self.dying = Calls(connection, timing=EXPIRED, worker="dying@test")
        self.repairs = Repairs(connection, timing=TIMING)
        self.letters = DeadLetters(connection, timing=TIMING)

    def submitted(self, *, deadline_seconds: float | None = None) -> str:
        return self.runs.create(
            pending_snapshot(),
            agent="ops",
            lane="normal",
            deadline_seconds=deadline_seconds,
            webhook_url=self.webhook_url,
        )

    def dispatched(self, *calls: ToolExecution, **tool: object) -> ClaimedRun:
        """A claimed run at step 1, with the calls handed out and the start message taken from the queue."""
        run = claimed(self.claims, self.submitted())
        self.connection.delete(AGENTS_QUEUE)
        snapshot = at_step_one(run.snapshot, calls)
        return self.claims.checkpoint(run, snapshot, parts(run, calls, function(**tool)), [])

    def paused(self, *calls: ToolExecution, **tool: object) -> ClaimedRun:
        run = self.dispatched(*calls, **tool)
        return self.pause(run)

    def pause(self, run: ClaimedRun) -> ClaimedRun:
        snapshot = run.snapshot
        snapshot.output.status = RunStatus.PAUSED
        return self.claims.pause(run, snapshot, [], [RunPaused(run_id=run.run_id, agent_name="ops")])

    def executing(self, run_id: str, tool_call_id: str, calls: Calls | None = None) -> ClaimedCall:
        calls = calls or self.calls
        call = calls.claim(address(run_id, tool_call_id))
        assert isinstance(call, ClaimedCall), call
        begun = calls.begin(call, sandbox_level="ns")
        assert isinstance(begun, ClaimedCall), begun
        return begun

    def kill_three_holders(self, run_id: str) -> None:
        """Three agent workers take the run, one after the other, and none renews its lease."""
        short = Claims(self.connection, timing=EXPIRED)
        for _ in range(3):
            claimed(short, run_id)

    def buried_call(self) -> str:
        """The id of a repeatable call that has killed three workers; its run waits for it."""
        run = self.paused(external("a"), on_lost="retry", max_attempts=10)
        for _ in range(3):
            self.executing(run.run_id, "a", self.dying)
            self.become_due()
            self.sweep_calls()
        return f"{run.run_id}:1:a"

    def continuations(self) -> int:
        return int(self.connection.llen(AGENTS_QUEUE))

    def cancel(self, run_id: str) -> str:
        return self.runs.cancel(self.runs.load(run_id), reason="no longer wanted")

    def due_entries(self, pool: str = "shell") -> list[str]:
        found: Any = self.connection.zrange(keys.pool_due(pool), 0, -1)
        return list(found)

    def become_due(self, pool: str = "shell") -> None:
        """Each call of the pool that is looked at some time is looked at now."""
        if entries := self.due_entries(pool):
            self.connection.zadd(keys.pool_due(pool), dict.fromkeys(entries, 1))

    def sweep_calls(self, pool: str = "shell") -> list[str]:
        return [self.repairs.look_at_call(pool, entry) for entry in self.repairs.due_calls(pool, limit=10)]

    def sweep_runs(self) -> list[str]:
        return [self.repairs.look_at_run(run_id) for run_id in self.repairs.due_runs(limit=10)]

    def sweep_deadlines(self) -> list[str]:
        return [self.repairs.expire(run_id) for run_id in self.repairs.due_deadlines(limit=10)]


@pytest.fixture
def floor(redis_connection: redis.Redis) -> Floor:
    """The stores of the empty server."""
    return Floor(redis_connection)
