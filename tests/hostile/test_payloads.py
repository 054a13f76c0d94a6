"""Hostile payloads against every wall that this machine can put up, as root's worker and as an ordinary user's.

A payload proves something only if it can succeed: those that are harmless are shown to do so where there is no wall.
"""

import os
import platform
import sys

import pytest

from tests.hostile.walls import Wall, campaign, seen
from tests.support.hostile.expectations import BARE
from tests.support.hostile.rows import LIMITS, Row, problems, rows
from tests.support.ordinary_user import can_become_one

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's"),
    pytest.mark.skipif(
        platform.machine() != "x86_64", reason="the payloads know this machine's system calls by number"
    ),
    # The first test behind each wall waits for all payloads to be thrown at it.
    pytest.mark.timeout(600),
    pytest.mark.slow,
]

ROWS = rows()
# Starting a container takes so long that it is shown a selection; the filters and the protocol are those of the others.
FOR_CONTAINERS = tuple(
    row.name
    for row in ROWS
    if row.family in ("files", "network", "contamination", "secrecy", "controls")
    or row.name.startswith(("stay_", "take_"))
)
WALLS = [
    Wall("ns", "ns"),
    Wall("shared", "shared"),
    Wall("container", "ns", only=FOR_CONTAINERS),
    *([Wall("ns", "ns", ordinary=True), Wall("landlock", "landlock", ordinary=True)] if can_become_one() else []),
]
NO_WALL = Wall("none", "none", only=tuple(BARE))
ALL = [(wall, row) for wall in WALLS for row in ROWS if not wall.only or row.name in wall.only]


@pytest.mark.parametrize(("wall", "row"), ALL, ids=[f"{wall.name}-{row.family}-{row.name}" for wall, row in ALL])
def test_a_payload_gets_nothing_and_harms_nobody(wall: Wall, row: Row) -> None:
    if wall.backend in row.gaps:
        pytest.skip(row.gaps[wall.backend])
    came_of_it = seen(wall, row.name)
    assert problems(row, came_of_it) == [], str(came_of_it)


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.name)
def test_the_wall_is_the_one_that_was_asked_for(wall: Wall) -> None:
    assert seen(wall, "")["level"] == wall.level
    assert {line["level"] for line in campaign(wall).values()} == {wall.level}


@pytest.mark.parametrize("row", [row for row in ROWS if row.bare], ids=lambda row: row.name)
def test_without_a_wall_the_payload_does_succeed(row: Row) -> None:
    user = seen(NO_WALL, "")["tools_user"]
    if (row.bare == "root" and user != 0) or (row.bare == "same user" and user != os.geteuid()):
        pytest.skip(f"a tool that runs as user {user} may not do this, wall or no wall")
    came_of_it = seen(NO_WALL, row.name)
    assert came_of_it["outcome"] in {"succeeded", "failed"}
    assert problems(row, came_of_it) != []


def test_the_suite_is_as_large_as_it_says() -> None:
    families = {row.family: sum(1 for other in ROWS if other.family == row.family) for row in ROWS}

    assert sum(families.values()) - families["controls"] >= 200
    assert families["controls"] >= 15
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert set(BARE) <= {row.name for row in ROWS}
    assert LIMITS["memory_mb"] < 256
