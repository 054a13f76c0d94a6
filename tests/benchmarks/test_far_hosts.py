"""How many round trips to the store a run waits for, one after the other: what a store that is far away costs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.chaos.hosted import HostedFleet
from tests.support.chaos.load import Load
from tests.support.chaos.shapes import Asked, Shape, one
from tests.support.hosts.places import obstacle

_OBSTACLE = obstacle()
pytestmark = [pytest.mark.benchmark, pytest.mark.skipif(_OBSTACLE is not None, reason=_OBSTACLE or "")]

ROUND_TRIP_SECONDS = 0.05
RUNS = 8
SEATS = {"agents": 1, "letters": 1, "pages": 1, "scales": 1}
SHAPES = {
    "no call": Shape("none"),
    "one inline call": one("jot"),
    "one call": one("write_letter"),
    "two steps of one call": Shape("twice", ((Asked("write_letter"),), (Asked("weigh"),))),
    "three calls in one pool": Shape("narrow", ((Asked("write_letter"),) * 3,)),
    "three calls in three pools": Shape("wide", ((Asked("write_letter"), Asked("fetch_page"), Asked("weigh")),)),
}


@pytest.mark.timeout(600)
def test_round_trips_of_a_run(tmp_path: Path) -> None:
    near, far = seconds(tmp_path / "near", 0.0), seconds(tmp_path / "far", ROUND_TRIP_SECONDS)
    print(f"\nfrom submit to end, workers a round trip of {1000 * ROUND_TRIP_SECONDS:g} ms away from the store:")
    for what in SHAPES:
        trips = (far[what] - near[what]) / ROUND_TRIP_SECONDS
        print(f"  {what:28} {far[what]:.2f} s (beside it {near[what]:.2f} s): waits for {trips:.1f} round trips")


def seconds(folder: Path, round_trip_seconds: float) -> dict[str, float]:
    """How long runs of each shape take, one after the other, with the workers so far away; the producer is near."""
    shapes = SHAPES.values()
    with HostedFleet(folder, shapes, seats=SEATS, lease_seconds=5, one_way_seconds=round_trip_seconds / 2) as fleet:
        load = Load(fleet)
        # The best: whatever else the machine does only adds to it.
        took = {what: min(_seconds_of(load, shape) for _ in range(RUNS)) for what, shape in SHAPES.items()}
        load.must_be_clean()
        load.close()
    return took


def _seconds_of(load: Load, shape: Shape) -> float:
    began = time.perf_counter()
    run = load.submit(shape, f"run{len(load.runs)}")
    load.fleet.client.run(run.run_id).wait(timeout=60)
    return time.perf_counter() - began
