"""At every event of the telemetry table a worker is killed, frozen, cut off from Redis, or hears its messages doubled.

Afterwards nothing is lost, and nothing was done twice. One fleet serves all cases: two workers of each kind, so that
somebody is there to take over, and an order in a file says who breaks how at which event.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import redis

from agent_core.run import RunOutput, RunSnapshot
from agent_core.telemetry import EVENTS
from queues.client import RunHandle
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.runs import Runs
from queues.timing import Timing
from queues.topology import Lane
from tests.support.breaking import FAULTS, Bench, Broken, Order
from tests.support.processes import processes_of
from tests.support.waiting import wait_until
from tests.support.walked import lost, must_be_whole
from tests.support.walking import Walk, agent_worker, breakable, tool_worker, walking
from workers.child import ChildCommand

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60
LEASE_SECONDS = 2.0  # shorter ones run out by themselves on a machine that is busy with other tests
# One run of "Everything at once": its start, the calls handed out, the pause, the continuation, the end.
AGENT_POINTS = [
    "run.claimed:1",
    *(f"{event}:{occurrence}" for occurrence in range(1, 4) for event in ("run.saving", "run.saved")),
    "run.claimed:2",
    *(f"{event}:{occurrence}" for occurrence in range(4, 6) for event in ("run.saving", "run.saved")),
    *(f"{event}:{occurrence}" for occurrence in (1, 2) for event in ("model.asked", "model.answered", "run.left")),
    *("inline.begun:1", "inline.executed:1"),
]
# The two calls of pools; the second one to be settled sends the last hint.
TOOL_POINTS = ["call.claimed:1", "call.begun:1", "call.executed:1", "call.settled:1", "call.settled:2"]
SWEEP_POINTS = ["sweep.looked:1"]
# Told where something is broken already, or between two points with nothing written in between.
SEEN_ELSEWHERE = {"lease.lost", "run.ended", "sandbox.started", "sandbox.refused"}
POINTS = [*AGENT_POINTS, *TOOL_POINTS, *SWEEP_POINTS]


@dataclass
class Yard:
    """Workers that break when ordered to."""

    walk: Walk
    bench: Bench
    redis: redis.Redis
    url: str
    past: list[str] = field(default_factory=list)

    def commands(self) -> list[ChildCommand]:
        folder = self.walk.settings.project_dir / "bench"
        agents = [agent_worker(self.walk, name=f"agents{number}") for number in (1, 2)]
        pools = self.walk.settings.pools
        tools = [tool_worker(self.walk, pool, name=f"{pool}{number}") for pool in pools for number in (1, 2)]
        return [breakable(command, folder) for command in (*agents, *tools)]

    def mend(self) -> None:
        """All workers run and consume."""
        running = self.walk.processes.pids()
        self.walk.processes.start(*(command for command in self.commands() if command.name not in running))

    def order(self, point: str, fault: str) -> None:
        event, _, occurrence = point.partition(":")
        self.bench.give(
            Order(
                event,
                int(occurrence),
                fault,
                self.url,
                self.past,
            )
        )

    def await_broken(self) -> Broken:
        wait_until(lambda: self.bench.broken() is not None, "the order is carried out", timeout_seconds=BOUND)
        return cast(Broken, self.bench.broken())

    def tasks(self, run_id: str) -> tuple[int, int]:
        """How many tasks of a run the workers say to have received, and to be done with."""
        lines = [line for line in list(self.walk.lines) if f"[{run_id}" in line]
        done = sum("] succeeded in" in line or "] raised" in line for line in lines)
        return sum("] received" in line for line in lines), done


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("points")
    with (
        walking(folder, cleared_server.url, lease_seconds=LEASE_SECONDS, start_workers=False) as walk,
        connect(cleared_server.url) as operator,
    ):
        yield Yard(walk, Bench(folder / "bench"), operator, cleared_server.url)
    wait_until(lambda: not processes_of(folder), "no process is left over", timeout_seconds=10)


@pytest.fixture
def yard(whole: Yard) -> Yard:
    whole.mend()
    return whole


def test_every_event_of_the_table_is_a_point() -> None:
    assert {point.partition(":")[0] for point in POINTS} == set(EVENTS) - SEEN_ELSEWHERE


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_breaks(yard: Yard, point: str, fault: str) -> None:
    yard.order(point, fault)
    run = astray(yard) if point in SWEEP_POINTS else yard.walk.client.submit("ops", "Everything at once")
    yard.past.append(run.run_id)
    broken = yard.await_broken()
    output = run.wait(timeout=BOUND)
    must_be_whole(run, output)
    assert lost(output) <= may_be_lost(point, fault, output, broken)
    match fault:
        case "kill":
            wait_until(lambda: broken.pid not in yard.walk.processes.pids().values(), "it is dead")
        case "freeze":
            must_write_nothing_once_thawed(yard, run, broken.pid)
        case _:
            assert broken.pid in yard.walk.processes.pids().values()
            await_silence(yard, run)
    assert run.output() == output


def astray(yard: Yard) -> RunHandle:
    """A run whose start message nobody will ever read, so that only a sweep can help it."""
    snapshot = RunSnapshot.create(agent_name="ops", input="Everything at once")
    runs = Runs(yard.redis, timing=Timing(repush_seconds=0.1))
    return yard.walk.client.run(runs.create(snapshot, agent="ops", lane=cast(Lane, "astray")))


def may_be_lost(point: str, fault: str, output: RunOutput, broken: Broken) -> set[str]:
    """What a dead or frozen worker had begun; nothing where it lives and only its messages or connections suffered."""
    if fault not in ("kill", "freeze"):
        return set()
    if point in ("call.begun:1", "call.executed:1"):
        return {broken.told["tool_call_id"]}
    # Only the inline call belongs to the agent worker; those of the pools do not.
    return {call.tool_call_id for call in output.tools if call.pool is None} if point in AGENT_POINTS else set()


def must_write_nothing_once_thawed(yard: Yard, run: RunHandle, pid: int) -> None:
    told = events_of(yard, run)
    os.kill(pid, signal.SIGCONT)
    await_silence(yard, run)
    assert events_of(yard, run) == told


def events_of(yard: Yard, run: RunHandle) -> dict[str, Any]:
    streams = sorted(str(key) for key in yard.redis.keys(f"errandry:*{{{run.run_id}}}*events"))
    streams += [f"errandry:events:{{{run.run_id}}}"]
    return {stream: yard.redis.xrange(stream) for stream in streams}


def await_silence(yard: Yard, run: RunHandle) -> None:
    """Every message of the run that a worker took is answered for."""

    def silent() -> bool:
        received, done = yard.tasks(run.run_id)
        return received == done

    wait_until(silent, "each task of the run has returned", timeout_seconds=BOUND)
