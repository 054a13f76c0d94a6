"""Three hosts, and the network between them: what is cut off loses what it held, does no harm, and works again."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues.acl import OPERATOR
from queues.consumers import ask_consumers
from tests.support.chaos.audit import Submitted, late_answers
from tests.support.chaos.hosted import AGENTS, STORE, TOOLS, HostedFleet
from tests.support.chaos.load import Load
from tests.support.chaos.shapes import Asked, Shape, one
from tests.support.hosts.places import obstacle
from tests.support.redis_users import nobody_refused
from tests.support.waiting import wait_until

_OBSTACLE = obstacle()
pytestmark = [
    *(pytest.mark.redis, pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(300)),
    pytest.mark.skipif(_OBSTACLE is not None, reason=_OBSTACLE or ""),
]

BOUND = 90
LEASE_SECONDS = 2.0
DRAIN_SECONDS = 2.0
LEAVE_SECONDS = 25.0  # after that a worker would still wait for Redis, once for each run that it holds
# Longer than a connection waits for an answer (10 s), and than Kombu waits before it takes one for dead.
LONG_CUT_SECONDS = 13.0
BACK_SECONDS = 40.0  # a quiet machine takes up to as long as the cut lasted: TCP tries ever more rarely
LONG_LETTER = one("write_letter", seconds=4.0, name="long letter")
SLOW_MODEL = one("fetch_page", fault="slow;seconds=3;times=1", name="slow model")
STUCK_MODEL = one("fetch_page", fault="slow;seconds=60;times=6", name="stuck model")
EVERYWHERE = Shape("everywhere", ((Asked("write_letter"), Asked("fetch_page"), Asked("weigh"), Asked("jot")),))
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedFleet]:
    shapes = [LONG_LETTER, SLOW_MODEL, STUCK_MODEL, EVERYWHERE]
    seats, folder = {"agents": 2, "letters": 1, "pages": 1, "scales": 1}, tmp_path_factory.mktemp("hosts")
    with HostedFleet(folder, shapes, seats=seats, lease_seconds=LEASE_SECONDS, drain_seconds=DRAIN_SECONDS) as fleet:
        yield fleet


@pytest.fixture
def load(fleet: HostedFleet) -> Iterator[Load]:
    load = Load(fleet)
    yield load
    for host in fleet.hosts.cut_off:
        fleet.hosts.heal(host)
    load.close()


def threads(fleet: HostedFleet) -> dict[str, int]:
    """How many threads each worker has."""
    told = {name: Path(f"/proc/{fleet.pid(name)}/status").read_text() for name in fleet.workers()}
    return {name: int(re.findall(r"Threads:\s+(\d+)", text)[0]) for name, text in told.items()}


@contextmanager
def nobody_leaves(fleet: HostedFleet) -> Iterator[None]:
    """Within the block no worker ends, and none gathers threads or connections: it has what its work takes at most."""
    before = {name: fleet.pid(name) for name in fleet.workers()}
    yield
    assert {name: fleet.pid(name) for name in fleet.workers() if not fleet.has_ended(name)} == before
    settings, counts = fleet.settings, threads(fleet)
    for host, names in ((AGENTS, fleet.workers("agents")), (TOOLS, fleet.tool_workers())):
        at_once = {name: settings.agent_concurrency if host == AGENTS else _concurrency(fleet, name) for name in names}
        assert all(counts[name] <= many + 8 for name, many in at_once.items()), counts
        # A thread has one to the store and, for the message, one to the broker.
        assert fleet.hosts[host].connections() <= sum(2 * many + 8 for many in at_once.values())


def _concurrency(fleet: HostedFleet, name: str) -> int:
    return fleet.settings.pools[name.rstrip("0123456789")].concurrency


def works_again(load: Load, name: str) -> None:
    """A run with a call in every pool gets through in time; so no worker has stalled."""
    load.submit(EVERYWHERE, name)
    load.settle_down(timeout_seconds=BACK_SECONDS)
    assert not load.open, f"{name} is not done {BACK_SECONDS:g} s after the network was whole again"


def answering(fleet: HostedFleet) -> list[str]:
    """The workers that say, when asked, that they consume."""
    found = ask_consumers(fleet.settings.with_redis_url(fleet.server.url_of(OPERATOR)))
    return sorted({worker.partition("@")[0] for workers in found.values() for worker in workers})


def outcomes(load: Load, run: Submitted) -> list[CallOutcome | None]:
    return [call.outcome for call in load.fleet.client.output(run.run_id).tools]


def test_tool_workers_need_the_store_and_nothing_else(fleet: HostedFleet, load: Load) -> None:
    with nobody_refused(fleet.server.url):
        run = load.submit(EVERYWHERE, "whole")
        load.must_be_clean()
    assert outcomes(load, run) == [CallOutcome.SUCCEEDED] * 4
    # The kernel counts what was sent to an address to which there is no way: nobody has even tried.
    assert fleet.hosts[TOOLS].tries_elsewhere() == fleet.hosts[AGENTS].tries_elsewhere() == 0
    connect = (sys.executable, "-c", _CONNECT)
    fleet.hosts[TOOLS].run(*connect, fleet.hosts[STORE].address, "6379")
    with pytest.raises(AssertionError, match="unreachable"):
        fleet.hosts[TOOLS].run(*connect, fleet.hosts[AGENTS].address, "80")


@pytest.mark.parametrize("how", ["silent", "unplugged", "deaf"])
def test_a_call_that_is_cut_off_past_its_lease_is_lost_and_told_once(how: str, fleet: HostedFleet, load: Load) -> None:
    refused = late_answers(load.redis)
    with nobody_leaves(fleet):
        run = load.submit(LONG_LETTER, f"letter-{how}")
        load.wait_executing(run)
        fleet.hosts.cut(TOOLS, how)
        # The others notice by its lease, and the run goes on without it, while it is still away.
        load.settle_down(timeout_seconds=BOUND)
        assert fleet.hosts.cut_off == [TOOLS]
        assert outcomes(load, run) == [CallOutcome.LOST]
        fleet.hosts.heal(TOOLS)
        works_again(load, f"after-{how}")
        wait_until(lambda: late_answers(load.redis) > refused, "its late answer was refused", timeout_seconds=BOUND)
    load.must_be_clean()
    assert outcomes(load, run) == [CallOutcome.LOST]


@pytest.mark.parametrize(("host", "how"), [(AGENTS, "deaf"), (TOOLS, "silent"), (STORE, "unplugged")])
def test_runs_go_on_after_a_long_cut(host: str, how: str, fleet: HostedFleet, load: Load) -> None:
    """In the middle of a model's answer, of calls, and with messages on their way; producers wait and read on."""
    with nobody_leaves(fleet), ThreadPoolExecutor(2) as producers:
        thinking = load.submit(SLOW_MODEL, f"thinking-{host}-{how}")
        calling = load.submit(LONG_LETTER, f"calling-{host}-{how}")
        waited = producers.submit(lambda: fleet.client.run(thinking.run_id).wait(timeout=BOUND))
        read = producers.submit(lambda: list(fleet.client.run(calling.run_id).events(timeout=BOUND)))
        load.wait_executing(calling)
        waiting = load.submit_many([EVERYWHERE], 5, name=f"waiting-{host}-{how}-")
        fleet.hosts.cut(host, how)
        over = time.monotonic() + LONG_CUT_SECONDS
        wait_until(lambda: time.monotonic() > over, "the cut is over", timeout_seconds=BOUND)
        fleet.hosts.heal(host)
        works_again(load, f"afterwards-{host}-{how}")
        assert waited.result(BOUND).status is RunStatus.COMPLETED
        told = [event.event for event in read.result(BOUND)]
        assert told.count("RunStarted") == 1 and told[-1] == "RunCompleted", told
        wait_until(lambda: answering(fleet) == sorted(fleet.workers()), "all workers answer", timeout_seconds=BOUND)
    load.must_be_clean()
    statuses = {load.fleet.client.output(run.run_id).status for run in (thinking, calling, *waiting)}
    assert statuses == {RunStatus.COMPLETED}


def test_workers_that_are_cut_off_leave_in_time(fleet: HostedFleet, load: Load) -> None:
    """They cannot say what they held; it goes on elsewhere once its leases have run out."""
    runs = load.submit_many([STUCK_MODEL], 6, name="stuck")
    calling = load.submit(LONG_LETTER, "stuck-letter")
    load.wait_executing(calling)
    wait_until(lambda: all(load.fleet.client.run(run.run_id).status() is RunStatus.RUNNING for run in runs), "all run")
    for host in (AGENTS, TOOLS):
        fleet.hosts.cut(host, "silent")
    for worker in fleet.workers():
        fleet.terminate(worker)
    for worker in fleet.workers():
        wait_until(lambda worker=worker: fleet.has_ended(worker), f"{worker} has left",  # type: ignore[misc]
                   timeout_seconds=LEAVE_SECONDS)  # fmt: skip
        assert fleet.how_it_ended(worker) == "ended with status 0"
    for host in (AGENTS, TOOLS):
        fleet.hosts.heal(host)
    fleet.make_whole()
    load.must_be_clean(timeout_seconds=BOUND)
