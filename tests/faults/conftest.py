"""One fleet for the fault tests of a session; each test leaves it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.chaos.fleet import Fleet
from tests.support.chaos.load import Load
from tests.support.chaos.shapes import Asked, Shape, one

LETTER = one("write_letter", seconds=0.1)
LONG_LETTER = one("write_letter", seconds=5.0, name="long letter")
PAGE = one("fetch_page", seconds=0.1)
SLOW_MODEL = one("fetch_page", fault="slow;seconds=5;times=1", name="slow model")
WIDE = Shape("wide", ((Asked("write_letter"), Asked("fetch_page"), Asked("weigh"), Asked("trip"), Asked("jot")),))
TWICE = Shape("twice", ((Asked("weigh"), Asked("fetch_page")), (Asked("write_letter", 0.1),)))
PERSON = one("ask_person", name="person")
ORDINARY = [LETTER, PAGE, WIDE, TWICE]


@pytest.fixture(scope="session")
def session_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    shapes = [*ORDINARY, LONG_LETTER, SLOW_MODEL, PERSON]
    seats = {"agents": 2, "letters": 2, "pages": 1, "scales": 1}
    with Fleet(tmp_path_factory.mktemp("fleet"), shapes, seats=seats) as fleet:
        yield fleet


@pytest.fixture
def fleet(session_fleet: Fleet) -> Fleet:
    """All processes up and consuming."""
    session_fleet.make_whole()
    return session_fleet


@pytest.fixture
def load(fleet: Fleet) -> Iterator[Load]:
    """Runs on the fleet."""
    load = Load(fleet)
    yield load
    load.close()
