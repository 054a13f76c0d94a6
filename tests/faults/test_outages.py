"""Redis is away for longer than leases and short retries: what was computed is kept, and work goes on by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.breaking import Bench, Order
from tests.support.waiting import wait_until
from tests.support.walked import lost, must_be_whole
from tests.support.walking import Walk, agent_worker, breakable, tool_worker, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60
LEASE_SECONDS = 2.0
OUTAGE_SECONDS = 20.0
BACK_SECONDS = 10.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path_factory.mktemp("outage") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedServer) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("outages")
    with walking(folder, server.url, lease_seconds=LEASE_SECONDS, start_workers=False, with_users=False) as walk:
        agents = [agent_worker(walk, name=name) for name in ("agents1", "agents2")]
        tools = [tool_worker(walk, pool, name=pool) for pool in walk.settings.pools]
        walk.processes.start(*(breakable(command, folder / "bench") for command in (*agents, *tools)))
        yield walk


def end_outage(server: EmbeddedServer, fault: str) -> None:
    if fault == "freeze server":
        os.kill(server.pid, signal.SIGCONT)
    else:
        assert server.revive()


def stopped(server: EmbeddedServer) -> bool:
    if not server.is_alive:
        return True
    return Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("fault", ["kill server", "freeze server"])
def test_nothing_that_was_computed_is_lost(walk: Walk, server: EmbeddedServer, fault: str) -> None:
    """The outage begins in the middle of a save, of a model call and of two calls of tools."""
    bench = Bench(walk.settings.project_dir / "bench")
    before, asked = walk.processes.pids(), len(walk.model.requests)
    thinking = walk.client.submit("ops", "Think long")
    calling = [walk.client.submit("ops", f"Run sleep {seconds}; echo done") for seconds in (3, 5)]
    wait_until(lambda: len(walk.model.requests) >= asked + 3, "the model was asked by all", timeout_seconds=BOUND)
    for run in calling:
        next(event for event in run.events(timeout=BOUND) if event.event == "ToolCallExecuting")
    past = [run.run_id for run in (thinking, *calling)]
    bench.give(Order("run.saving", 2, fault, server.url, past, server.pid))
    saving = walk.client.submit("ops", "Everything at once")
    wait_until(lambda: stopped(server), "the server is away", timeout_seconds=BOUND)
    away = time.monotonic()
    wait_until(lambda: time.monotonic() > away + OUTAGE_SECONDS, "the outage is over", timeout_seconds=BOUND)
    end_outage(server, fault)
    back = time.monotonic()
    outputs = [run.wait(timeout=BOUND) for run in (thinking, *calling, saving)]
    took = time.monotonic() - back
    with connect(server.url) as operator:
        told = operator.info("stats")
    print(f"\nback after {took:.1f} s, {told['total_connections_received']} connections since the start, "
          f"{told['instantaneous_ops_per_sec']} commands a second")  # fmt: skip
    assert took < BACK_SECONDS
    assert {output.status for output in outputs} == {RunStatus.COMPLETED}
    assert [output.tools[0].outcome for output in outputs[1:3]] == [CallOutcome.SUCCEEDED] * 2
    must_be_whole(saving, outputs[-1])
    assert lost(outputs[-1]) == set()
    # Once by each run before the outage, and once more by all that had calls to tell of: nothing was paid for twice.
    assert len(walk.model.requests) == asked + 4 + 3
    assert walk.processes.pids() == before


def test_many_who_wait_do_not_come_back_as_a_storm(walk: Walk, server: EmbeddedServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive, "the server is away")
    away = time.monotonic()
    wait_until(lambda: time.monotonic() > away + LEASE_SECONDS, "all have noticed")
    assert server.revive()
    with connect(server.url) as operator:
        began = operator.info("stats")
        back = time.monotonic()
        wait_until(lambda: time.monotonic() > back + 5, "five seconds have passed")
        told = operator.info("stats")
    commands = told["total_commands_processed"] - began["total_commands_processed"]
    connections = told["total_connections_received"]
    print(f"\n{connections} connections and {commands} commands in five seconds")
    workers = len(walk.processes.pids())
    assert connections < 15 * workers and commands < 200 * workers  # idle ones send about 20 a second each
