"""Workers die in the middle of their work, by SIGKILL: nothing is lost, and nothing is done twice unasked."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues.client import RunHandle
from queues.embedded import EmbeddedServer
from tests.support.waiting import wait_until
from tests.support.walking import Walk, agent_worker, kill, tool_worker, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    with walking(tmp_path_factory.mktemp("faults"), cleared_server.url) as running:
        yield running


def executing(run: RunHandle) -> None:
    next(event for event in run.events(timeout=BOUND) if event.event == "ToolCallExecuting")


def processes_with(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker in entry.read_bytes().decode(errors="replace").replace("\0", " "):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def test_a_killed_tool_worker_loses_its_call_openly(walk: Walk) -> None:
    run = walk.client.submit("ops", "Run sleep 47.11; echo done")
    executing(run)
    wait_until(lambda: processes_with("sleep 47.11"), "the command runs")
    kill(walk, "shell")
    wait_until(lambda: not processes_with("sleep 47.11"), "the sandboxed process is gone")
    walk.processes.start(tool_worker(walk, "shell", name="shell"))
    output = run.wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED
    (call,) = output.tools
    assert call.outcome is CallOutcome.LOST
    assert "unknown" in str(output.content)


def test_calls_that_nobody_executes_yet_wait_for_the_next_worker(walk: Walk) -> None:
    kill(walk, "shell")
    run = walk.client.submit("ops", "Run echo still here")
    next(event for event in run.events(timeout=BOUND) if event.event == "RunPaused")
    walk.processes.start(tool_worker(walk, "shell", name="shell"))
    output = run.wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED and "still here" in str(output.content)


def test_a_killed_agent_worker_hands_its_run_to_the_next(walk: Walk) -> None:
    asked = len(walk.model.requests)
    run = walk.client.submit("ops", "Think long")
    wait_until(lambda: len(walk.model.requests) > asked, "the model is asked", timeout_seconds=BOUND)
    kill(walk, "agents")
    walk.processes.start(agent_worker(walk, name="agents"))
    output = run.wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED and output.content == "thought"


def test_a_paused_run_survives_every_worker(walk: Walk) -> None:
    run = walk.client.submit("careful", "Delete invoices")
    run.wait(timeout=BOUND, until="paused")
    kill(walk, "agents")
    (call,) = walk.client.pending(run.run_id)
    walk.client.confirm(run.run_id, call.tool_call_id, True)
    walk.processes.start(agent_worker(walk, name="agents"))
    assert run.wait(timeout=BOUND).content is not None
    assert run.status() is RunStatus.COMPLETED


def test_sigterm_lets_a_call_finish_and_takes_no_more(walk: Walk) -> None:
    run = walk.client.submit("ops", "Run sleep 2; echo finished in peace")
    executing(run)
    os.kill(walk.processes.pids()["shell"], signal.SIGTERM)
    wait_until(lambda: "shell" not in walk.processes.pids(), "the worker has drained", timeout_seconds=BOUND)
    output = run.wait(timeout=BOUND)
    assert output.tools[0].outcome is CallOutcome.SUCCEEDED
    assert "finished in peace" in str(output.content)
