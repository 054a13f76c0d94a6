"""How long the death of the primary is felt: until another server is named, takes submits, and a new run has ended.

Three servers and three Sentinels on this machine, which take a primary for down after two seconds of silence.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from tests.faults.conftest import LETTER
from tests.support.chaos.load import Load
from tests.support.chaos.watched import WatchedFleet
from tests.support.sentinel_group import DOWN_AFTER_MS

pytestmark = [pytest.mark.benchmark, pytest.mark.redis, pytest.mark.timeout(900)]

TIMES = 5
SEATS = {"agents": 1, "letters": 1, "pages": 1, "scales": 1}


def test_runs_go_on_after_a_fail_over(tmp_path: Path) -> None:
    felt: dict[str, list[float]] = {"another primary is named": [], "a submit is safe": [], "a new run has ended": []}
    with WatchedFleet(tmp_path / "fleet", [LETTER], seats=SEATS) as fleet, fleet.careful_client() as client:
        load = Load(fleet)
        for number in range(TIMES):
            fleet.server.group.restore()
            load.submit(LETTER, f"before-{number}")
            load.settle_down(timeout_seconds=60)
            begun = time.monotonic()
            fleet.server.group.fail_over()
            felt["another primary is named"].append(time.monotonic() - begun)
            run = client.submit("chaotic", LETTER.prompt(f"after-{number}"))
            felt["a submit is safe"].append(time.monotonic() - begun)
            run.wait(timeout=60)
            felt["a new run has ended"].append(time.monotonic() - begun)
        load.close()
    print(
        f"\nafter a kill -9 of the primary, taken for down after {DOWN_AFTER_MS / 1000:g} s of silence, {TIMES} times:"
    )
    for what, seconds in felt.items():
        print(f"  {what:26} {statistics.median(seconds):5.1f} s in the median, {max(seconds):5.1f} s at worst")
