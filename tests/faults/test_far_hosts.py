"""Workers far away from the store: everything takes longer, and nothing else happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chaos.audit import late_answers
from tests.support.chaos.hosted import HostedFleet
from tests.support.chaos.load import Load
from tests.support.chaos.shapes import Asked, Shape, one
from tests.support.hosts.places import obstacle

_OBSTACLE = obstacle()
pytestmark = [
    *(pytest.mark.redis, pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(300)),
    pytest.mark.skipif(_OBSTACLE is not None, reason=_OBSTACLE or ""),
]

SEATS = {"agents": 1, "letters": 1, "pages": 1, "scales": 1}
# Twice as long as their lease, so that it has to be renewed over that distance.
LONG_PAGE = one("fetch_page", seconds=6.0, name="long page")
SHAPES = [
    Shape("wide", ((Asked("write_letter"), Asked("fetch_page"), Asked("weigh"), Asked("trip"), Asked("jot")),)),
    Shape("twice", ((Asked("weigh"), Asked("fetch_page")), (Asked("write_letter", 0.1),))),
    one("ask_person", name="person"),
]


def test_a_store_that_is_far_away_costs_time_and_nothing_else(tmp_path: Path) -> None:
    shapes = [LONG_PAGE, *SHAPES]
    with HostedFleet(tmp_path, shapes, seats=SEATS, lease_seconds=3, one_way_seconds=0.05) as fleet:
        load = Load(fleet)
        load.submit(LONG_PAGE, "long")
        load.submit_many(SHAPES, 6, name="run")
        findings = load.must_be_clean(timeout_seconds=120)
        assert findings.told["runs COMPLETED"] == 7
        assert findings.told["calls lost"] == late_answers(load.redis) == 0
        assert len(fleet.ledger.of_word("long/1/1")) == 1
        load.close()
