"""Medians, spreads, ratios and goals of figures."""

from __future__ import annotations

import json

import pytest

from workers.bench.figures import Better, Figure, Goal, Measure, Series


def figure(
    work: list[float],
    floor: list[float] | None = None,
    *,
    goal: Goal | None = None,
    better: Better = "less",
) -> Figure:
    measure = Measure(name="one call", unit="ms", floor_name="bare", goal=goal, better=better)
    return Figure.taken("whole", measure, Series.of(work), Series.of(floor) if floor is not None else None)


def test_a_series_has_a_median_and_quartiles() -> None:
    series = Series.of([5, 1, 2, 4, 3])
    assert (series.low, series.median, series.high) == (2, 3, 4)
    assert series.samples == (5, 1, 2, 4, 3)


def test_percentiles_lie_between_samples() -> None:
    series = Series.of(list(range(101)))
    assert (series.percentile(95), series.percentile(99)) == (95, 99)


def test_one_sample_is_its_own_median_without_spread() -> None:
    series = Series.of([7.0])
    assert (series.low, series.median, series.high, series.percentile(95)) == (7, 7, 7, 7)


def test_samples_are_scaled_and_lose_digits_that_mean_nothing() -> None:
    assert Series.of([0.0123456789], scale=1000).samples == (12.3457,)


def test_the_ratio_is_taken_pair_by_pair() -> None:
    ratio = figure([2, 40, 6], [1, 10, 3]).ratio
    assert ratio is not None and ratio.samples == (2, 4, 2)


def test_samples_that_are_no_pairs_give_the_ratio_of_their_medians() -> None:
    ratio = figure([2, 4, 6], [1, 3]).ratio
    assert ratio is not None and ratio.samples == (2,)


def test_a_floor_of_nothing_gives_no_ratio() -> None:
    assert figure([2], [0]).ratio is None
    assert figure([2]).ratio is None


@pytest.mark.parametrize(
    ("goal", "better", "met"),
    [
        (None, "less", None),
        (Goal(of="ratio", bound=2), "less", True),
        (Goal(of="ratio", bound=1.9), "less", False),
        (Goal(of="median", bound=4), "less", True),
        (Goal(of="median", bound=3), "less", False),
        (Goal(of="median", bound=5), "more", False),
        (Goal(of="median", bound=4), "more", True),
        (Goal(of="p95", bound=5), "less", False),
        (Goal(of="p95", bound=6), "less", True),
    ],
)
def test_a_goal_is_met_or_missed(goal: Goal | None, better: Better, met: bool | None) -> None:
    assert figure([2, 4, 6], [1, 2, 3], goal=goal, better=better).is_met is met


def test_a_goal_over_a_floor_that_is_not_there_is_neither() -> None:
    assert figure([2], goal=Goal(of="ratio", bound=2)).is_met is None


@pytest.mark.parametrize(
    ("goal", "better", "words"),
    [
        (None, "less", ""),
        (Goal(of="ratio", bound=1.5), "less", "<= 1.5x"),
        (Goal(of="median", bound=100), "more", ">= 100 ms"),
        (Goal(of="p95", bound=25), "less", "p95 <= 25 ms"),
    ],
)
def test_a_goal_in_words(goal: Goal | None, better: Better, words: str) -> None:
    assert figure([1], goal=goal, better=better).goal_words() == words


def test_the_stored_form_has_what_follows_from_the_samples_and_is_read_without_it() -> None:
    taken = figure([2, 4, 6], [1, 2, 3], goal=Goal(of="ratio", bound=2))
    stored = json.loads(taken.model_dump_json())
    assert stored["work"] == {"samples": [2, 4, 6], "median": 4, "low": 3, "high": 5}
    assert stored["ratio"]["median"] == 2
    assert stored["is_met"] is True
    assert Figure.model_validate(stored) == taken
