"""The server dies, drops connections or runs out of memory: workers resume by themselves, and nothing is lost."""

from __future__ import annotations

import time

import pytest

from agent_core.tools.execution import CallOutcome
from queues.connections import connect
from tests.faults.conftest import LONG_LETTER, ORDINARY
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.load import Load
from tests.support.valkey import configured
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]


def pids(fleet: Fleet) -> dict[str, int]:
    return {name: fleet.pid(name) for name in fleet.workers()}


def must_work_on(fleet: Fleet, load: Load, before: dict[str, int], *, name: str) -> None:
    """Everything submitted ends well, more runs after it too, and no worker had to be started again for that."""
    load.must_be_clean()
    load.submit_many(ORDINARY, 8, name=f"after-{name}")
    load.must_be_clean()
    assert [name for name in fleet.workers() if fleet.has_ended(name)] == []
    assert pids(fleet) == before


@pytest.mark.parametrize("number", range(2))
def test_a_server_that_is_killed_under_load_ends_no_worker(fleet: Fleet, load: Load, number: int) -> None:
    before = pids(fleet)
    load.submit_many(ORDINARY, 12, name=f"killed-server{number}-")
    load.wait_executing(load.runs[1])
    fleet.kill_server()
    assert fleet.server.revive()
    must_work_on(fleet, load, before, name=f"killed-server{number}-")


def test_calls_outlive_an_outage_that_is_longer_than_their_leases(fleet: Fleet, load: Load) -> None:
    before = pids(fleet)
    run = load.submit(LONG_LETTER, "outage")
    load.wait_executing(run)
    fleet.kill_server()
    dead = time.monotonic()
    wait_until(lambda: time.monotonic() > dead + 1.2 * fleet.lease_seconds, "its lease is over")
    assert fleet.server.revive()
    must_work_on(fleet, load, before, name="outage")
    (call,) = fleet.client.output(run.run_id).tools
    assert call.outcome is CallOutcome.SUCCEEDED


def test_dropped_connections_are_made_anew(fleet: Fleet, load: Load) -> None:
    before = pids(fleet)
    load.submit_many(ORDINARY, 12, name="dropped")
    for number in range(4):
        load.wait_executing(load.runs[number])
        load.redis.client_kill_filter(_type="normal", skipme=True)
        load.redis.client_kill_filter(_type="pubsub", skipme=True)
    must_work_on(fleet, load, before, name="dropped")


def test_a_server_out_of_memory_refuses_writes_and_is_forgiven(fleet: Fleet, load: Load) -> None:
    before = pids(fleet)
    load.submit_many(ORDINARY, 8, name="memory")
    load.wait_executing(load.runs[0])
    with connect(fleet.server.url) as connection:

        def refusals() -> int:
            return int(connection.info("errorstats").get("errorstat_OOM", {"count": 0})["count"])

        with configured(connection, "maxmemory", "1mb"):
            wait_until(lambda: refusals() > 5, "writes are refused", timeout_seconds=30)
            then, began = refusals(), time.monotonic()
            wait_until(lambda: time.monotonic() > began + 2, "some more of that")
            storm = (refusals() - then) / (time.monotonic() - began)
    assert storm < 100, f"{storm:g} refused writes a second"
    must_work_on(fleet, load, before, name="memory")
