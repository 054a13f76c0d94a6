"""Compares figures with those of an earlier file; never judges, but marks what the spread does not explain.

Where both have a floor, what counts is how many times the floor they are: a busy machine slows both down alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workers.bench.figures import Figure, Series
from workers.bench.report import Report

_NAMED = 3
_SAMPLES = 3


@dataclass(frozen=True)
class Change:
    """One figure, then and now. `mark` is worse, better, or empty where the quartiles of both overlap."""

    now: Figure
    value: float
    over_floor: float | None
    mark: str


def caveats(earlier: Report, now: Report) -> Iterator[str]:
    """Sentences about what makes the comparison doubtful, and about figures that only one of them has."""
    different = now.machine.differences(earlier.machine)
    if different:
        yield f"The earlier figures were taken on another machine: {'; '.join(different)}."
    if earlier.quick != now.quick:
        lengths = {True: "short", False: "full"}
        yield f"The earlier figures are of the {lengths[earlier.quick]} form, these of the {lengths[now.quick]} one."
    known = {(figure.bench, figure.name) for figure in earlier.figures}
    new = [f"{figure.bench}: {figure.name}" for figure in now.figures if (figure.bench, figure.name) not in known]
    if new:
        named = ", ".join(new) if len(new) <= _NAMED else f"{len(new)} of these figures"
        yield f"The earlier file does not have {named}."


def changes(earlier: Report, now: Sequence[Figure]) -> list[Change]:
    """Each figure that both have in the same unit, in the order of now."""
    known = {(figure.bench, figure.name, figure.unit): figure for figure in earlier.figures}
    pairs = [(known.get((figure.bench, figure.name, figure.unit)), figure) for figure in now]
    return [_change(then, figure) for then, figure in pairs if then is not None]


def _change(then: Figure, now: Figure) -> Change:
    ratios = (then.ratio, now.ratio)
    over_floor = None
    judged = (then.work, now.work)
    if ratios[0] is not None and ratios[1] is not None:
        judged = (ratios[0], ratios[1])
        over_floor = _times(*judged)
    return Change(now, _times(then.work, now.work), over_floor, _mark(*judged, more_is_better=now.better == "more"))


def _times(then: Series, now: Series) -> float:
    if then.median == 0:
        return 1.0 if now.median == 0 else float("inf")
    return now.median / then.median


def _mark(then: Series, now: Series, *, more_is_better: bool) -> str:
    if min(len(then.samples), len(now.samples)) < _SAMPLES:
        return ""  # of so few no spread is known
    if now.low > then.high:
        return "better" if more_is_better else "worse"
    if now.high < then.low:
        return "worse" if more_is_better else "better"
    return ""
