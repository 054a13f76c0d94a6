"""A run on the queue by hand, for tests of the scripts: snapshots, calls and their parts without any agent."""

from __future__ import annotations

from collections.abc import Sequence

from agent_core.run import RunSnapshot, RunStatus
from agent_core.tools.execution import ToolExecution
from agent_core.tools.function import Function
from queues.calls import CallAddress
from queues.claims import ClaimedRun, Claims
from queues.parts import Part, parts_of
from queues.timing import Timing

TIMING = Timing(lease_seconds=30, repush_seconds=30)
EXPIRED = Timing(lease_seconds=0, repush_seconds=0)  # every lease runs out at once, everything is due at once


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


def parts(run: ClaimedRun, calls: Sequence[ToolExecution], tool: Function | None = None) -> list[Part]:
    return parts_of(run.run_id, calls, functions={"look_up": tool or function()}, lane=run.lane, parent_id=run.run_id)


def claimed(claims: Claims, run_id: str, owner: str = "agents@test") -> ClaimedRun:
    run = claims.claim(run_id, owner=owner)
    assert isinstance(run, ClaimedRun), run
    return run


def address(run_id: str, tool_call_id: str, pool: str = "shell") -> CallAddress:
    return CallAddress(pool, run_id, 1, tool_call_id, "look_up")
