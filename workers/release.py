"""Which unfinished runs the code at hand could not carry on, before it is released. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import redis

from agent_core.errors import RunNotFoundError, SnapshotSchemaError
from agent_core.run import RunSnapshot
from queues.checkup import Finding, counted, ok, problem
from queues.run_checkup import UnfinishedRun
from queues.runs import Runs
from queues.timing import Timing
from workers.agents import Project


def release_findings(
    connection: redis.Redis, runs: Sequence[UnfinishedRun], project: Project, *, pools: Collection[str]
) -> Iterator[Finding]:
    """One finding: that all of these runs fit this code, or which do not and why."""
    stored = Runs(connection, timing=Timing())
    broken = [f"{run.run_id}: {reason}" for run in runs if (reason := _misfit(stored, run, project, pools))]
    if broken:
        yield problem(
            "release.runs",
            f"this code cannot carry on {counted(len(broken), 'unfinished run')}",
            "keep a worker of the old release until they have ended, keep the names, or cancel the runs",
            broken,
        )
    else:
        yield ok("release.runs", f"this code can carry on {counted(len(runs), 'unfinished run')}")


def _misfit(stored: Runs, run: UnfinishedRun, project: Project, pools: Collection[str]) -> str:
    """Why a run does not fit; empty if it does, or has gone meanwhile."""
    try:
        snapshot = stored.load(run.run_id).snapshot
    except RunNotFoundError:
        return ""
    except SnapshotSchemaError as error:
        return str(error)
    where = f"{run.status}, agent {run.agent}"
    if run.agent not in project.agents:
        return f"{where}, which is not in this project"
    tools = project.agents[run.agent].functions()
    if missing := sorted({name for name in _awaited(snapshot) if name not in tools}):
        return f"{where}, which lacks the tool {', '.join(missing)} of a call that is under way"
    if gone := sorted({call.pool for call in snapshot.pending if call.pool is not None and call.pool not in pools}):
        return f"{where}, waits for pool {', '.join(gone)}, which is not in this project"
    return ""


def _awaited(snapshot: RunSnapshot) -> list[str]:
    """The tools of calls of the step under way that are not settled, inline ones among them."""
    return [call.tool_name for call in snapshot.calls if call.outcome is None]
