"""What a benchmark takes: samples, the floor below them, the goal. Values only: measures nothing, prints nothing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

Better = Literal["less", "more"]
_DIGITS = 6


class Series(BaseModel):
    """Samples of one thing, in the order in which they were taken, in the unit of their figure."""

    model_config = ConfigDict(frozen=True)

    samples: tuple[float, ...] = Field(min_length=1)

    @classmethod
    def of(cls, samples: Sequence[float], *, scale: float = 1.0) -> Series:
        """The samples times `scale`, without the digits that no clock can mean."""
        return cls(samples=tuple(float(f"{sample * scale:.{_DIGITS}g}") for sample in samples))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.samples)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def low(self) -> float:
        """The first quartile."""
        return self.percentile(25)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def high(self) -> float:
        """The third quartile."""
        return self.percentile(75)

    def percentile(self, percent: int) -> float:
        """What so many of a hundred samples do not exceed, between two of them by their distance."""
        if len(self.samples) == 1:
            return self.samples[0]
        return statistics.quantiles(self.samples, n=100, method="inclusive")[percent - 1]


class Goal(BaseModel):
    """A bound for the median, for the 95th percentile, or for how many times the floor it is."""

    model_config = ConfigDict(frozen=True)

    of: Literal["ratio", "median", "p95"]
    bound: float


class Measure(BaseModel):
    """One thing that a benchmark measures, before it has."""

    model_config = ConfigDict(frozen=True)

    name: str
    unit: str
    floor_name: str = ""
    goal: Goal | None = None
    better: Better = "less"

    def goal_words(self) -> str:
        """The goal as the table says it; empty without one."""
        if self.goal is None:
            return ""
        sign = "<=" if self.better == "less" else ">="
        match self.goal.of:
            case "ratio":
                return f"{sign} {self.goal.bound:g}x"
            case "median":
                return f"{sign} {self.goal.bound:g} {self.unit}"
            case "p95":
                return f"p95 {sign} {self.goal.bound:g} {self.unit}"


class Figure(Measure):
    """What was measured. The n-th sample of the floor was taken right before or after the n-th of the work."""

    bench: str
    work: Series
    floor: Series | None = None

    @classmethod
    def taken(cls, bench: str, measure: Measure, work: Series, floor: Series | None = None) -> Figure:
        """The figure of a measure of the benchmark of that name."""
        return cls(bench=bench, work=work, floor=floor, **measure.model_dump(exclude={"goal"}), goal=measure.goal)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ratio(self) -> Series | None:
        """How many times the floor each sample is; of the medians, if they were not taken in pairs."""
        if self.floor is None:
            return None
        if len(self.floor.samples) != len(self.work.samples):
            pairs = [(self.work.median, self.floor.median)]
        else:
            pairs = list(zip(self.work.samples, self.floor.samples, strict=True))
        ratios = [above / below for above, below in pairs if below > 0]
        return Series.of(ratios) if ratios else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; None without a goal, or without what it is about."""
        reached = self._measured_by_goal()
        if self.goal is None or reached is None:
            return None
        return reached <= self.goal.bound if self.better == "less" else reached >= self.goal.bound

    def _measured_by_goal(self) -> float | None:
        if self.goal is None:
            return None
        match self.goal.of:
            case "ratio":
                return self.ratio.median if self.ratio is not None else None
            case "median":
                return self.work.median
            case "p95":
                return self.work.percentile(95)
