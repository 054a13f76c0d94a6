"""A person approves a call while the agent worker that asked for it dies at one point or another of the pause."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.run import RunStatus
from agent_core.tools.execution import ToolExecution
from queues.client import RunHandle
from queues.embedded import EmbeddedServer
from tests.support.breaking import Bench, Order
from tests.support.waiting import wait_until
from tests.support.walked import must_be_whole
from tests.support.walking import Walk, agent_worker, breakable, kill, tool_worker, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("approvals")


@pytest.fixture(scope="module")
def walk(folder: Path, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    """Tool workers, and a pool that asks; agent workers are started by each test."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ERRANDRY_POOLS__SHELL__APPROVAL", "true")
        with walking(folder, cleared_server.url, lease_seconds=2, start_workers=False) as running:
            running.processes.start(*(tool_worker(running, pool, name=pool) for pool in running.settings.pools))
            yield running


def unapproved(run: RunHandle) -> ToolExecution | None:
    return next((call for call in run.pending() if call.requires_approval), None)


# The step is saved with its calls handed out; its inline call is done and the pause is about to be saved; it is saved.
@pytest.mark.parametrize("point", ["run.saving:2", "run.saved:2", "run.saving:3", "run.saved:3"])
def test_an_approval_outlives_the_worker_that_asked_for_it(
    walk: Walk, folder: Path, embedded_server: EmbeddedServer, point: str
) -> None:
    event, _, occurrence = point.partition(":")
    bench = Bench(folder / "bench")
    bench.give(Order(event, int(occurrence), "kill", embedded_server.url, []))
    walk.processes.start(breakable(agent_worker(walk, name="dying"), folder / "bench"))
    run = walk.client.submit("ops", "Everything at once")
    wait_until(lambda: "dying" not in walk.processes.pids(), "the worker is dead", timeout_seconds=BOUND)
    call = unapproved(run)
    assert (call is None) == (point == "run.saving:2")
    if call is not None:
        # Nobody holds the run, whatever its status says.
        walk.client.confirm(run.run_id, call.tool_call_id, True, answered_by="ann")
    walk.processes.start(agent_worker(walk, name="living"))
    if call is None:
        wait_until(lambda: unapproved(run) is not None, "a person is asked", timeout_seconds=BOUND)
        call = unapproved(run)
        assert call is not None
        walk.client.confirm(run.run_id, call.tool_call_id, True, answered_by="ann")
    output = run.wait(timeout=BOUND)
    must_be_whole(run, output)
    assert output.status is RunStatus.COMPLETED
    approved = output.tools[0]
    assert (str(approved.result).strip(), approved.answered_by) == ("from the shell", "ann")
    kill(walk, "living")
