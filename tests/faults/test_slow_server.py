"""Redis is slow, says nothing for a while, or breaks off: runs take longer, and nothing else happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from queues.embedded import EmbeddedServer
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.walked import lost, must_be_whole
from tests.support.walking import Walk, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 240
LEASE_SECONDS = 4.0


@pytest.fixture(scope="module")
def proxy(cleared_server: EmbeddedServer) -> Iterator[Proxy]:
    port = urlsplit(cleared_server.url).port
    assert port is not None
    with Proxy(port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, embedded_server: EmbeddedServer, proxy: Proxy) -> Iterator[Walk]:
    parts = urlsplit(embedded_server.url)
    through = parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{proxy.port}")
    folder = tmp_path_factory.mktemp("slow")
    with walking(folder, urlunsplit(through), lease_seconds=LEASE_SECONDS, with_users=False) as walk:
        yield walk


@pytest.fixture(autouse=True)
def quick_again(proxy: Proxy) -> Iterator[None]:
    yield
    proxy.delay_seconds = 0.0
    proxy.resume()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("round_trip_seconds", "count"), [(0.5, 3), (1.0, 1)])
def test_a_slow_server_costs_time_and_nothing_else(
    walk: Walk, proxy: Proxy, round_trip_seconds: float, count: int
) -> None:
    before = walk.processes.pids()
    proxy.delay_seconds = round_trip_seconds / 2
    runs = [walk.client.submit("ops", "Everything at once") for _ in range(count)]
    long = walk.client.submit("ops", f"Run sleep {2 * LEASE_SECONDS}; echo done")
    outputs = [run.wait(timeout=BOUND) for run in (*runs, long)]
    proxy.delay_seconds = 0.0
    for run, output in zip(runs, outputs, strict=False):
        must_be_whole(run, output)
        assert lost(output) == set()
    assert lost(outputs[-1]) == set()  # its lease was kept, for longer than it lasts
    assert walk.processes.pids() == before


@pytest.mark.parametrize("stall_seconds", [3.0, 6.0, 15.0])
def test_a_server_that_says_nothing_for_a_while_loses_nothing(walk: Walk, proxy: Proxy, stall_seconds: float) -> None:
    """Shorter than a lease, longer than one, and longer than a connection waits for an answer."""
    before = walk.processes.pids()
    long = walk.client.submit("ops", f"Run sleep {stall_seconds / 2}; echo done")
    runs = [walk.client.submit("ops", "Everything at once") for _ in range(4)]
    next(event for event in long.events(timeout=BOUND) if event.event == "ToolCallExecuting")
    proxy.stall()
    stalled = time.monotonic()
    wait_until(lambda: time.monotonic() > stalled + stall_seconds, "the stall is over", timeout_seconds=BOUND)
    proxy.resume()
    outputs = [run.wait(timeout=BOUND) for run in (*runs, long)]
    for run, output in zip(runs, outputs, strict=False):
        must_be_whole(run, output)
    assert [lost(output) for output in outputs] == [set()] * 5
    assert walk.processes.pids() == before


def test_connections_that_break_all_the_time_lose_nothing(walk: Walk, proxy: Proxy) -> None:
    before = walk.processes.pids()
    runs = [walk.client.submit("ops", "Everything at once") for _ in range(6)]
    proxy.delay_seconds = 0.02  # so that answers are on their way when the connection ends

    def cut() -> bool:
        proxy.cut()
        wait_a_little = time.monotonic() + 0.15
        wait_until(lambda: time.monotonic() > wait_a_little, "a little later")
        return time.monotonic() > began + 6

    began = time.monotonic()
    wait_until(cut, "that was enough", timeout_seconds=BOUND)
    for run in runs:
        output = run.wait(timeout=BOUND)
        must_be_whole(run, output)
    assert walk.processes.pids() == before
