"""What a benchmark is: a name, a sentence, what it measures, and the function that does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workers.bench.figures import Figure, Measure
from workers.bench.stage import Stage


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. `measure` takes its figures, of these measures and no others, on the given stage."""

    name: str
    sentence: str
    measures: tuple[Measure, ...]
    measure: Callable[[Stage], list[Figure]]
