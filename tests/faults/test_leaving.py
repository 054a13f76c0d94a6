"""Workers are told to leave: what they hold is finished, or handed back in time; nobody waits for a lease to run out.

The leases of this fleet are longer than all the tests together.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from functools import partial

import pytest

from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome
from queues import keys
from tests.faults.conftest import ORDINARY
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.load import Load
from tests.support.chaos.shapes import one
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

LEASE_SECONDS = 600.0
# Far apart from each other and from the 30 s of what is held, so that a busy machine does not take one for another.
DRAIN_SECONDS = 8.0
SOON_SECONDS = 8.0
BOUND = 60
REPORTED = one("write_letter", seconds=30.0, name="reported")
REPEATED = one("fetch_page", seconds=30.0, name="repeated")
SHORT = one("write_letter", seconds=1.0, name="short")
SLOW_MODEL = one("jot", fault="slow;seconds=30;times=1", name="slow model")
# So that of each kind one always stays.
WAVES = [["agents1", "letters1", "pages1", "scales1"], ["agents2", "letters2", "pages2", "scales2"]]


@pytest.fixture(scope="module")
def patient_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    shapes = [*ORDINARY, REPORTED, REPEATED, SHORT, SLOW_MODEL]
    seats = dict.fromkeys(("agents", "letters", "pages", "scales"), 2)
    folder = tmp_path_factory.mktemp("leaving")
    with Fleet(folder, shapes, seats=seats, lease_seconds=LEASE_SECONDS, drain_seconds=DRAIN_SECONDS) as fleet:
        yield fleet


@pytest.fixture
def fleet(patient_fleet: Fleet) -> Fleet:
    patient_fleet.make_whole()
    return patient_fleet


def holder(load: Load, key: str, field: str) -> str:
    held = str(load.redis.hget(key, field))
    (name,) = [name for name in load.fleet.workers() if f":{load.fleet.pid(name)}:" in held]
    return name


def caller(load: Load, run_id: str, pool: str) -> str:
    (call,) = load.fleet.client.pending(run_id)
    return holder(load, keys.part(pool, run_id, 1), f"owner:{call.tool_call_id}")


def leave(fleet: Fleet, name: str, *numbers: signal.Signals) -> float:
    """Send the signals and wait until the worker has left; returns after how many seconds it did."""
    began = time.monotonic()
    for number in numbers:
        said = fleet.said().count(f"{name} | worker: ")
        fleet.signal(name, number)
        # Two of one kind at the same moment are one signal.
        wait_until(lambda: fleet.said().count(f"{name} | worker: ") > said, "it has heard that")  # noqa: B023
    wait_until(partial(fleet.has_ended, name), f"{name} has left", timeout_seconds=BOUND)
    assert fleet.how_it_ended(name) == "ended with status 0"
    return time.monotonic() - began


def end_of(load: Load, run_id: str) -> RunOutput:
    began = time.monotonic()
    output = load.fleet.client.run(run_id).wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED, output.error
    assert time.monotonic() - began < BOUND / 2
    return output


def test_a_call_that_can_be_finished_is(fleet: Fleet, load: Load) -> None:
    run = load.submit(SHORT, "short")
    load.wait_executing(run)
    assert leave(fleet, caller(load, run.run_id, "letters"), signal.SIGTERM) < DRAIN_SECONDS
    assert end_of(load, run.run_id).tools[0].outcome is CallOutcome.SUCCEEDED


def test_a_call_that_takes_too_long_is_stopped_and_reported(fleet: Fleet, load: Load) -> None:
    run = load.submit(REPORTED, "reported")
    load.wait_executing(run)
    took = leave(fleet, caller(load, run.run_id, "letters"), signal.SIGTERM)
    assert DRAIN_SECONDS <= took < DRAIN_SECONDS + SOON_SECONDS
    (call,) = end_of(load, run.run_id).tools
    assert call.outcome is CallOutcome.LOST and "had to leave" in str(call.result)
    assert fleet.executions() == []
    load.must_be_clean()


def test_a_call_that_may_be_repeated_goes_to_another_worker_at_once(fleet: Fleet, load: Load) -> None:
    run = load.submit(REPEATED, "repeated")
    load.wait_executing(run)
    leave(fleet, caller(load, run.run_id, "pages"), signal.SIGTERM)
    load.wait_executing(run, times=2, timeout_seconds=BOUND / 2)
    fleet.client.cancel(run.run_id)
    wait_until(lambda: fleet.executions() == [], "the second execution has been ended")


def test_a_run_in_a_model_call_goes_to_another_worker_at_once(fleet: Fleet, load: Load) -> None:
    run = load.submit(SLOW_MODEL, "slow")
    wait_until(lambda: load.redis.hget(keys.run(run.run_id), "step") == "1", "the model is asked")
    leaving = holder(load, keys.run(run.run_id), "owner")
    took = leave(fleet, leaving, signal.SIGTERM)
    assert took < DRAIN_SECONDS + 2 * SOON_SECONDS
    end_of(load, run.run_id)
    load.must_be_clean()


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGQUIT,), (signal.SIGHUP,) * 2],
    ids=lambda numbers: "+".join(number.name for number in numbers),
)
def test_a_second_word_hands_back_at_once(
    fleet: Fleet, load: Load, numbers: tuple[signal.Signals, ...], request: pytest.FixtureRequest
) -> None:
    run = load.submit(REPORTED, f"hurried-{request.node.callspec.id}")
    load.wait_executing(run)
    assert leave(fleet, caller(load, run.run_id, "letters"), *numbers) < DRAIN_SECONDS
    assert end_of(load, run.run_id).tools[0].outcome is CallOutcome.LOST


def test_all_workers_are_replaced_under_load(fleet: Fleet, load: Load) -> None:
    """A release is rolled out, and no run notices."""
    before = {name: fleet.pid(name) for name in fleet.workers()}
    assert sorted(itertools.chain(*WAVES)) == sorted(before)
    began = time.monotonic()
    for number, wave in enumerate(WAVES):
        load.submit_many(ORDINARY, 10, name=f"rolling{number}-")
        load.wait_executing(load.runs[-8])
        for name in wave:
            fleet.terminate(name)
        for name in wave:
            wait_until(partial(fleet.has_ended, name), f"{name} has drained", timeout_seconds=BOUND)
            fleet.start(name)
        for name in wave:
            fleet.await_ready(name)
    findings = load.must_be_clean(timeout_seconds=90)
    assert findings.told["calls lost"] == 0  # a worker that is told to leave finishes what it holds
    assert not before.items() & {name: fleet.pid(name) for name in fleet.workers()}.items()
    assert time.monotonic() - began < LEASE_SECONDS / 4  # so nothing can have waited for one
