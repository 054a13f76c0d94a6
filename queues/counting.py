"""What processes count while they work, by the names that Prometheus knows it by; counts and stores nothing itself.

Each label of a family has a list of values, but for pools, agents and models, which are those of the project.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, TypeAlias

from agent_core.tools.execution import CallOutcome

Figure: TypeAlias = tuple[str, ...]
"""What is counted: the name of the family, the values of its labels, and of a histogram the bucket, or SUM."""

SUM = "sum"  # of a histogram's values; whole microseconds, so that adding up is exact
MICROSECONDS = 1_000_000

_MOMENTS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_DAYS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21_600, 86_400, 604_800)
_OUTCOMES = tuple(outcome.value for outcome in CallOutcome)
LEVELS = ("ns", "shared", "landlock", "seatbelt", "none")
REPAIRS_FOUND = ("pushed", "lost", "expired", "buried", "refused")


@dataclass(frozen=True)
class Family:
    """Figures of one name. With `buckets` they are a histogram, of seconds; without, they only grow."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def kind(self) -> Literal["counter", "histogram"]:
        """What Prometheus calls it."""
        return "histogram" if self.buckets else "counter"

    @property
    def bounds(self) -> tuple[str, ...]:
        """The buckets as Prometheus writes them, the one for all that is longer among them."""
        return (*(str(float(bound)) for bound in self.buckets), "+Inf") if self.buckets else ()

    def bucket(self, seconds: float) -> str:
        """The smallest bucket that the value fits into."""
        for bound in self.buckets:
            if seconds <= bound:
                return str(float(bound))
        return "+Inf"

    def series(self, pools: Sequence[str]) -> list[tuple[str, ...]]:
        """What the labels can say with these pools; nothing if agents or models are among them."""
        known = {"pool": tuple(pools), **self.values}
        return list(product(*(known.get(label, ()) for label in self.labels)))

    def figures(self, pools: Sequence[str]) -> Iterator[Figure]:
        """All figures of these series."""
        for labels in self.series(pools):
            for last in (*self.bounds, SUM) if self.buckets else ("",):
                yield (self.name, *labels, *([last] if last else []))


RUN_SECONDS = Family(
    "errandry_run_seconds",
    "From the submit of a run to its end, of runs that agent workers ended or found expired.",
    ("agent",),
    buckets=_DAYS,
)
STRETCHES = Family(
    "errandry_stretches_total",
    "Stretches of runs that agent workers began: a start, a continuation after a pause, a takeover from a worker that "
    "died or left, a retry of a failed run.",
    ("agent", "kind"),
    {"kind": ("start", "continuation", "takeover", "retry")},
)
CALLS = Family(
    "errandry_calls_total", "Calls that got their answer, by its outcome.", ("pool", "outcome"), {"outcome": _OUTCOMES}
)
ANSWERS_REFUSED = Family(
    "errandry_answers_refused_total",
    "Answers that were turned away: another one stood, the lease was lost, or there is no such call.",
    ("pool", "verdict"),
    {"verdict": ("already", "stale", "missing")},
)
QUEUE_WAIT = Family(
    "errandry_call_queue_wait_seconds",
    "How long calls waited in their queue before a worker took them, each attempt for itself.",
    ("pool",),
    buckets=_MOMENTS,
)
EXECUTION = Family(
    "errandry_call_execution_seconds", "How long calls were executed, each attempt for itself.", ("pool",),
    buckets=_MOMENTS,
)  # fmt: skip
TURNAROUND = Family(
    "errandry_call_turnaround_seconds",
    "From the queue to the answer, of calls that a worker or executor answered.",
    ("pool",),
    buckets=_MOMENTS,
)
INLINE_CALLS = Family(
    "errandry_inline_calls_total", "Calls that agent workers executed themselves.", ("outcome",), {"outcome": _OUTCOMES}
)
REPAIRS = Family(
    "errandry_sweep_repairs_total",
    "What the sweep put right: messages pushed again, calls lost with their worker or expired, poison buried, refused "
    "messages set aside.",
    ("found",),
    {"found": REPAIRS_FOUND},
)
TOKENS = Family(
    "errandry_tokens_total",
    "Tokens that models were given and gave, as they say.",
    ("agent", "model", "direction"),
    {"direction": ("input", "output")},
)
MODEL_REQUESTS = Family(
    "errandry_model_requests_total",
    "Requests to models: answered, failed, or stopped because nobody listened any more.",
    ("agent", "model", "outcome"),
    {"outcome": ("answered", "failed", "stopped")},
)
MODEL_SECONDS = Family(
    "errandry_model_request_seconds", "How long requests to models took.", ("agent", "model"), buckets=_MOMENTS
)
SANDBOX_STARTS = Family(
    "errandry_sandbox_starts_total",
    "Processes that stood behind their wall, ready for a call.",
    ("pool", "level"),
    {"level": LEVELS},
)
SANDBOX_REFUSALS = Family(
    "errandry_sandbox_refusals_total",
    "Walls that could not be put up: for a worker that was to start, or for a call.",
    ("pool",),
)
LEASES_LOST = Family(
    "errandry_leases_lost_total",
    "Runs and calls whose holder heard that they are its own no longer.",
    ("kind",),
    {"kind": ("run", "call")},
)

FAMILIES = (
    *(RUN_SECONDS, STRETCHES, CALLS, ANSWERS_REFUSED, QUEUE_WAIT, EXECUTION, TURNAROUND, INLINE_CALLS, REPAIRS),
    *(TOKENS, MODEL_REQUESTS, MODEL_SECONDS, SANDBOX_STARTS, SANDBOX_REFUSALS, LEASES_LOST),
)


def of_a_pool(pool: str) -> list[Figure]:
    """All that the tool workers of a pool count, so that whatever else its credential writes is read by nobody."""
    families = (family for family in FAMILIES if family.labels[0] == "pool")
    return [*(figure for family in families for figure in family.figures([pool])), (LEASES_LOST.name, "call")]


def field_of(figure: Figure) -> str:
    """The field of a hash that a figure is kept in."""
    return json.dumps(figure, ensure_ascii=False, separators=(",", ":"))


def figure_of(name: str) -> Figure | None:
    """The figure of a field; None for a field that is none of ours."""
    try:
        words = json.loads(name)
    except (ValueError, RecursionError):
        return None
    return tuple(words) if isinstance(words, list) and all(isinstance(word, str) for word in words) else None
