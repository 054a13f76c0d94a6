"""Measures a piece of work against its floor, turn about in one run, and says how many times the floor it costs.

Never judges: a machine that others use gives any number once, so the ratio and its spread are told, not asserted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What one sample took: CPU of this process, all threads together, and time on the wall."""

    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class Comparison:
    """Samples of a floor and of the work above it; the n-th of both were taken one right after the other."""

    floor: tuple[Cost, ...]
    work: tuple[Cost, ...]

    def table(self, title: str) -> str:
        """Return a line of medians and of ratios, each with the quartiles around it."""
        lines = [f"\n{title} ({len(self.floor)} pairs of samples; median, quartiles in brackets)"]
        for kind in ("cpu_seconds", "wall_seconds"):
            floor = [getattr(cost, kind) for cost in self.floor]
            work = [getattr(cost, kind) for cost in self.work]
            ratios = [above / below for above, below in zip(work, floor, strict=True)]
            lines.append(
                f"  {kind.removesuffix('_seconds'):4}  floor {_spread(floor, scale=1000)} ms"
                f"   work {_spread(work, scale=1000)} ms   ratio {_spread(ratios)}x"
            )
        return "\n".join(lines)


def compare(
    floor: Callable[[], object],
    work: Callable[[], object],
    *,
    pairs: int,
    repeats: int = 1,
    pause_seconds: float = 0.0,
    on_pair: Callable[[int], object] = lambda _: None,
) -> Comparison:
    """Take `pairs` samples of each, a sample being the mean of `repeats`; who goes first changes from pair to pair.

    Before each sample there is the pause, which is not counted; `on_pair` hears how many pairs are done.
    """
    floor(), work()  # connections are opened, modules loaded and schemas built by the first of each
    taken: dict[Callable[[], object], list[Cost]] = {floor: [], work: []}
    for pair in range(pairs):
        for measured in (floor, work) if pair % 2 else (work, floor):
            time.sleep(pause_seconds)
            taken[measured].append(_sample(measured, repeats=repeats))
        on_pair(pair + 1)
    return Comparison(tuple(taken[floor]), tuple(taken[work]))


def _sample(measured: Callable[[], object], *, repeats: int) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        measured()
    return Cost((time.process_time() - cpu) / repeats, (time.perf_counter() - wall) / repeats)


def _spread(values: Sequence[float], *, scale: float = 1.0) -> str:
    low, middle, high = (quartile * scale for quartile in statistics.quantiles(values, n=4))
    return f"{middle:.2f} [{low:.2f} to {high:.2f}]"
