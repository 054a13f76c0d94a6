"""Which unfinished runs the code at hand could not carry on, before it is released. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import redis

from agent_core.errors import RunNotFoundError, SnapshotSchemaError
from agent_core.run import RunSnapshot
from agent_core.tools.execution import ToolExecution
from queues.checkup import Finding, counted, ok, problem, warning
from queues.run_checkup import UnfinishedRun
from queues.runs import Runs
from queues.timing import Timing
from workers.agents import Project
from workers.drift import changes, obstacles


def release_findings(
    connection: redis.Redis,
    runs: Sequence[UnfinishedRun],
    project: Project,
    *,
    pools: Collection[str],
    unseen: int = 0,
) -> Iterator[Finding]:
    """That all of these runs fit this code, or which do not and why; then those whose pending tools have changed.

    `unseen` is how many older runs there are beside these, finished ones among them.
    """
    stored = Runs(connection, timing=Timing())
    broken: list[str] = []
    changed: list[str] = []
    for run in runs:
        misfit, drift = _judged(stored, run, project, pools)
        broken += [f"{run.run_id}: {misfit}"] if misfit else []
        changed += [f"{run.run_id}: agent {run.agent}, {sentence}" for sentence in drift]
    if broken:
        yield problem(
            "release.runs",
            f"this code cannot carry on {counted(len(broken), 'unfinished run')}",
            "keep a worker of the old release until they have ended, keep the names, or cancel the runs",
            broken,
        )
    else:
        yield ok("release.runs", f"this code can carry on {counted(len(runs), 'unfinished run')}")
    if changed:
        yield warning(
            "release.schemas",
            f"{counted(len(changed), 'call')} under way, whose tools take other parameters in this code",
            "nothing if the arguments still fit: their answers count; else let the old workers execute them first",
            changed,
        )
    if unseen:
        yield warning(
            "release.unseen",
            f"not looked at: {counted(unseen, 'older run')}, paused ones perhaps among them",
            "look at all of them, with a larger --limit",
        )


def _judged(stored: Runs, run: UnfinishedRun, project: Project, pools: Collection[str]) -> tuple[str, Sequence[str]]:
    """Why a run does not fit, empty if it does or has gone meanwhile; and what has changed that it can bear."""
    try:
        snapshot = stored.load(run.run_id).snapshot
    except RunNotFoundError:
        return "", ()
    except SnapshotSchemaError as error:
        return str(error), ()
    where = f"{run.status}, agent {run.agent}"
    if run.agent not in project.agents:
        return f"{where}, which is not in this project", ()
    tools = project.agents[run.agent].functions()
    calls = _under_way(snapshot)
    if found := obstacles(calls, tools):
        return f"{where}, which {' and '.join(found)}", ()
    if gone := sorted({call.pool for call in snapshot.pending if call.pool is not None and call.pool not in pools}):
        return f"{where}, waits for pool {', '.join(gone)}, which is not in this project", ()
    return "", changes(calls, tools)


def _under_way(snapshot: RunSnapshot) -> list[ToolExecution]:
    """The calls of the step under way that are not settled, inline ones among them."""
    return [call for call in snapshot.calls if not call.is_settled]
