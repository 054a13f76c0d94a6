"""Each level on a machine that is really unwilling: what still works, what is kept apart, and what is said of the rest.

The unwillingness is a filter around the worker's whole process, or a mount over a part of its /proc.
"""

import json
import sys
from functools import cache
from typing import Any

import pytest

from tests.support.ordinary_user import UID, can_become_one, run_as_ordinary_user
from workers.sandbox import landlock

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or not can_become_one(), reason="only root can become another user"),
    pytest.mark.skipif(landlock.abi() < 6, reason="needs a kernel with Landlock ABI 6"),
    pytest.mark.slow,
    # The first test of each kind waits for all that is tried there.
    pytest.mark.timeout(300),
]

SCRIPT = "from tests.support.level_trial import main; main()"
# As containers do it: something lies over a part of /proc, and the kernel lets nobody mount another one.
MASKED = "mount --bind /dev/null /proc/interrupts"
WALLS = {
    "shared": ("none below", "shared", ""),
    "shared without /proc": ("willing", "shared", MASKED),
    "landlock": ("no namespaces", "landlock", ""),
}


@cache
def trial(way: str, least: str, before: str, uid: int) -> dict[str, Any]:
    said = run_as_ordinary_user(SCRIPT, way, least, uid=uid, before=before, timeout_seconds=280)
    print(json.dumps(said, indent=1))
    return dict(said)


@pytest.fixture(params=[f"{wall} as {who}" for who in ("root", "an ordinary user") for wall in WALLS])
def said(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What came of everything that was tried, on each kind of unwilling machine, for both kinds of worker."""
    wall, who = str(request.param).split(" as ")
    return trial(*WALLS[wall], 0 if who == "root" else UID) | {"wall": wall}


def test_the_best_level_that_holds_is_taken_and_what_it_leaves_open_is_named(said: dict[str, Any]) -> None:
    assert said["level"] == said["wall"].split()[0]
    assert said["gaps"] == said["detail"]["gaps"] != []
    assert ("/proc is empty" in said["gaps"]) == (said["wall"] == "shared without /proc")
    assert said["detail"]["landlock_abi"] == 6
    assert said["detail"]["seccomp"].startswith("default:")


def test_calls_work_one_after_the_other_and_side_by_side(said: dict[str, Any]) -> None:
    assert (said["add"], said["last"]) == ("3", "42")
    seen = len(said["carried"].split()) + 1
    assert said["at_once"] == [f"{number}\n{seen}\n" for number in range(4)]


def test_no_call_finds_what_another_one_left(said: dict[str, Any]) -> None:
    assert (said["written"], said["written_before"]) == ("kept", said["carried"])
    assert (said["deep"], said["deep_before"]) == ("deep", said["carried"])
    assert said["remains"] == []
    assert said["left"] == []


def test_the_machine_is_out_of_reach(said: dict[str, Any]) -> None:
    assert said["canary"].startswith(("FileNotFoundError", "PermissionError"))
    assert said["project"].startswith("# E")
    assert "cannot touch 'made'" in said["project"]
    assert "Error" in said["network"]
    assert "reached" not in said["supervisor"]
    assert "made" not in said["namespaces"]
    assert "hidden" not in said["environment"]


def test_a_call_that_kills_all_it_can_kills_itself_alone(said: dict[str, Any]) -> None:
    assert said["after_killing_all"][2] == "next"


def test_limits_hold_for_orphans_as_well(said: dict[str, Any]) -> None:
    assert "more than 256 MiB" in said["hog"]
    assert "more than 256 MiB" in said["orphaned_hog"]
    assert "was stopped" in said["bomb"]


def test_scratch_is_bounded(said: dict[str, Any]) -> None:
    assert "No space left" in said["fill"] or "more than 16 MiB" in said["fill"]
    if said["level"] == "landlock":
        assert "16384 files" in said["files"]


@pytest.mark.parametrize(
    ("way", "least", "words"),
    [
        ("none below", "ns", 'set level = "shared"'),
        ("no namespaces", "ns", 'set level = "landlock"'),
        ("no namespaces", "shared", 'set level = "landlock"'),
    ],
)
def test_below_its_level_a_pool_is_refused_with_reason_and_remedy(way: str, least: str, words: str) -> None:
    refused = trial(way, least, "", UID)["refused"]
    assert words in refused
    assert "Operation not permitted" in refused or "No permissions to creat" in refused
    assert "user namespaces" in refused


def test_on_a_willing_machine_a_pool_that_takes_less_gets_the_best() -> None:
    said = trial("willing", "landlock", "", UID)
    assert (said["level"], said["gaps"], said["last"]) == ("ns", [], "42")
