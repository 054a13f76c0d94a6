"""The primary dies, freezes or is swapped, and Sentinel puts a replica in its place: runs go on, no worker ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.conftest import LETTER, LONG_LETTER, ORDINARY, PERSON
from tests.support.chaos.audit import Findings
from tests.support.chaos.load import Load
from tests.support.chaos.watched import WatchedFleet
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(600)]

SEATS = {"agents": 2, "letters": 1, "pages": 1, "scales": 1}
BOUND = 120


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFleet]:
    shapes = [*ORDINARY, LONG_LETTER, PERSON]
    with WatchedFleet(tmp_path_factory.mktemp("watched"), shapes, seats=SEATS, lease_seconds=3.0) as fleet:
        fleet.client.close()
        fleet.client = fleet.careful_client()
        yield fleet


@pytest.fixture
def load(fleet: WatchedFleet) -> Iterator[Load]:
    fleet.server.group.restore()
    load = Load(fleet)
    yield load
    load.close()


def after(load: Load, fleet: WatchedFleet) -> Findings:
    """What became of the runs. A promise may be broken only as ARCHITECTURE's paragraph on failovers admits it.

    That is: a call that was begun at the very last moment, of which no server knows any more, is executed again.
    """
    load.settle_down(timeout_seconds=BOUND)
    findings = load.audit()
    assert set(findings.broken) <= {"executions_unasked"}, findings.table()
    unasked = [place for place in findings.places if "attempt" in place]
    assert not unasked, findings.table()  # no call is begun twice that the store knows to have been begun
    assert not [name for name in fleet.workers() if fleet.has_ended(name)], fleet.said()[-2000:]
    print(f"\n{findings.table()}")
    return findings


def through(load: Load, fleet: WatchedFleet, change: Callable[[], object], *, name: str) -> None:
    """The primary changes while runs are at every point of their walk."""
    load.submit_many([*ORDINARY, PERSON, LONG_LETTER], 12, name=f"before-{name}-")
    held = load.submit(LONG_LETTER, f"held-{name}")
    load.wait_executing(held)
    begun = time.monotonic()
    change()
    moved = time.monotonic() - begun
    first = load.submit(LETTER, f"first-{name}")
    submitted = time.monotonic() - begun

    def has_ended() -> bool:
        load.try_to_look()
        return first.run_id not in load.open

    wait_until(has_ended, "runs go on", timeout_seconds=BOUND)
    ended = time.monotonic() - begun
    print(f"\n{name}: new primary {moved:.1f} s, submit {submitted:.1f} s, a new run ended {ended:.1f} s")
    load.submit_many(ORDINARY, 4, name=f"after-{name}-")


def test_two_primaries_are_killed_one_after_the_other(load: Load, fleet: WatchedFleet) -> None:
    group = fleet.server.group
    for number in range(2):
        through(load, fleet, group.fail_over, name=f"kill-{number}")
        group.restore()
    after(load, fleet)


def test_a_primary_is_swapped_while_it_is_well(load: Load, fleet: WatchedFleet) -> None:
    through(load, fleet, fleet.server.group.swap, name="swap")
    findings = after(load, fleet)
    assert findings.is_clean, findings.table()  # nothing at all is lost where the primary hands over in good order


def test_a_primary_freezes_and_comes_back_when_another_has_its_place(load: Load, fleet: WatchedFleet) -> None:
    group = fleet.server.group
    old = group.primary()

    def freeze() -> None:
        old.freeze()
        wait_until(lambda: group.has_moved_from(old), "another server is the primary", timeout_seconds=90)

    try:
        through(load, fleet, freeze, name="freeze")
    finally:
        old.thaw()
    group.restore()
    after(load, fleet)
