"""A release is rolled out under load: all workers are told to leave and replaced, and no run notices."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from tests.faults.conftest import ORDINARY
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.load import Load
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]


# So that of a kind of which there are several one always stays.
WAVES = [["agents1", "letters1", "pages1"], ["agents2", "letters2", "scales1"]]


def test_all_workers_are_replaced_under_load(fleet: Fleet, load: Load) -> None:
    before = {name: fleet.pid(name) for name in fleet.workers()}
    assert sorted(itertools.chain(*WAVES)) == sorted(before)
    for number, wave in enumerate(WAVES):
        load.submit_many(ORDINARY, 8, name=f"rolling{number}-")
        load.wait_executing(load.runs[-6])
        for name in wave:
            fleet.terminate(name)
        for name in wave:
            wait_until(partial(fleet.has_ended, name), f"{name} has drained", timeout_seconds=60)
            fleet.start(name)
        for name in wave:
            fleet.await_ready(name)
    findings = load.must_be_clean(timeout_seconds=90)
    assert findings.told["calls lost"] == 0  # a worker that is told to leave finishes what it holds
    assert not before.items() & {name: fleet.pid(name) for name in fleet.workers()}.items()
