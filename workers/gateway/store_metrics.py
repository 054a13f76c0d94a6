"""What the store knows, as Prometheus reads it: queues, runs, and what processes counted. Asks nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from agent_core.run import RunStatus
from queues.backlog import Backlog
from queues.counting import FAMILIES, MICROSECONDS, SUM, Family, Figure
from queues.figures import Figures
from workers.gateway import metric_table as table
from workers.gateway.metric_table import Described

Series = Mapping[tuple[str, ...], float]


@dataclass(frozen=True)
class Measured:
    """The store at one moment."""

    pools: Sequence[str]
    backlog: Backlog
    figures: Figures


@dataclass(frozen=True)
class StoreMetrics:
    """What `generate_latest` asks. `found` is None if the store does not answer; then its figures are left out."""

    found: Measured | None

    def collect(self) -> Iterator[Metric]:
        """Every metric of the store, those without a figure as well."""
        found = self.found
        yield _simple(table.UP, {(): float(found is not None)})
        for described, series in _series_of(found).items():
            yield _simple(described, series)
        for family in FAMILIES:
            yield _counted(family, found.figures.counted if found else {}, found.pools if found else ())


def _series_of(found: Measured | None) -> Mapping[Described, Series]:
    if found is None:
        return {described: {} for described in table.OF_THE_STORE}
    backlog, figures, pools = found.backlog, found.figures, found.pools
    unfinished: dict[tuple[str, ...], float] = {
        (status.value.lower(),): figures.runs.get(status, 0) for status in RunStatus if not status.is_finished
    }
    return {
        table.RUNS: {**unfinished, ("ended",): backlog.runs_finished},
        table.SUBMITTED: {(): figures.submitted},
        table.ENDED: {(status.value,): figures.runs.get(status, 0) for status in RunStatus if status.is_finished},
        table.MESSAGES: {(pool or "", lane): count for (pool, lane), count in backlog.waiting.items()},
        table.OLDEST: {(pool,): backlog.oldest_seconds.get(pool, 0.0) for pool in pools},
        table.OPEN_CALLS: {(pool,): figures.open_calls[pool] for pool in pools},
        table.TOOL_WORKERS: {(pool,): figures.tool_workers[pool] for pool in pools},
        table.AGENTS: {(): backlog.agents_announced},
        table.DEAD: {(): backlog.dead_letters},
        table.WEBHOOKS: {(): backlog.webhooks_waiting},
    }


def _simple(described: Described, series: Series) -> Metric:
    kind = GaugeMetricFamily if described.kind == "gauge" else CounterMetricFamily
    metric = kind(described.name, described.help, labels=described.labels)
    for labels, value in series.items():
        metric.add_metric(labels, value)
    return metric


def _counted(family: Family, counted: Mapping[Figure, int], pools: Sequence[str]) -> Metric:
    """Every series that there can be, so that one which begins later does not begin above zero, and those that are."""
    width = len(family.labels)
    told = {figure[1 : width + 1] for figure in counted if figure[0] == family.name and _fits(figure, family, pools)}
    series = sorted({*family.series(pools), *told})
    if not family.buckets:
        return _simple(
            Described(family.name, family.kind, family.labels, family.help),
            {labels: counted.get((family.name, *labels), 0) for labels in series},
        )
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels in series:
        total, buckets = 0, []
        for bound in family.bounds:
            total += counted.get((family.name, *labels, bound), 0)
            buckets.append((bound, total))
        metric.add_metric(labels, buckets, counted.get((family.name, *labels, SUM), 0) / MICROSECONDS)
    return metric


def _fits(figure: Figure, family: Family, pools: Sequence[str]) -> bool:
    """Whether a figure is one of the family. A pool that is taken out of the settings is shown no longer."""
    *labels, last = figure[1:] if family.buckets else (*figure[1:], "")
    known = {"pool": pools, **family.values}
    return (
        len(labels) == len(family.labels)
        and (not family.buckets or last in (*family.bounds, SUM))
        and all(value in known.get(label, (value,)) for label, value in zip(family.labels, labels, strict=True))
    )
