"""What the gateway counts, in the words of Prometheus; asks the store only when somebody scrapes.

Never labels by a run, a key or a path: each label value is a time series that stays.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from queues.backlog import Backlog

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The metrics of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # When a series began is of no use to anybody here, and doubles the text.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._requests = Counter(
            "errandry_gateway_requests",
            "Requests that were answered, by the route's pattern, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._streams = Gauge(
            "errandry_gateway_open_streams",
            "Streams of events that are open, and waits for the end of a run.",
            registry=self.registry,
        )
        self._up = Gauge("errandry_store_up", "Whether the store answered this scrape.", registry=self.registry)
        self._waiting = Gauge(
            "errandry_queue_messages",
            "Messages that wait, by pool (empty: the agents' queue) and lane.",
            ["pool", "lane"],
            registry=self.registry,
        )
        self._oldest = Gauge(
            "errandry_queue_oldest_seconds",
            "How long the call at the head of a pool's queues has waited; 0 if none waits.",
            ["pool"],
            registry=self.registry,
        )
        self._runs = Gauge(
            "errandry_runs", "Runs that the store holds, by whether they have ended.", ["state"], registry=self.registry
        )
        self._dead = Gauge("errandry_dead_letters", "Dead letters that nobody has requeued.", registry=self.registry)
        self._webhooks = Gauge(
            "errandry_webhooks_waiting", "Webhooks that are to be posted, or posted again.", registry=self.registry
        )
        self._agents = Gauge(
            "errandry_agents_announced", "Agents that agent workers offer just now.", registry=self.registry
        )

    def count_request(self, route: str, method: str, status: int) -> None:
        """Count an answer. Whatever word a caller invents for a method is one series."""
        known = method if method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE") else "other"
        self._requests.labels(route, known, str(status)).inc()

    def render(self, *, open_streams: int, found: Backlog | None) -> bytes:
        """All metrics as text. `found` is None if the store does not answer; then its figures are left out."""
        self._streams.set(open_streams)
        self._up.set(found is not None)
        for gauge in (self._waiting, self._oldest, self._runs):
            gauge.clear()
        if found is None:
            # What has no labels cannot be left out, and the last figure would pass for today's.
            self._dead.set(float("nan"))
            self._webhooks.set(float("nan"))
            self._agents.set(float("nan"))
        else:
            self._take_in(found)
        return generate_latest(self.registry)

    def _take_in(self, found: Backlog) -> None:
        for (pool, lane), count in found.waiting.items():
            self._waiting.labels(pool or "", lane).set(count)
            if pool is not None:
                self._oldest.labels(pool).set(found.oldest_seconds.get(pool, 0.0))
        self._runs.labels("finished").set(found.runs_finished)
        self._runs.labels("unfinished").set(max(0, found.runs_kept - found.runs_finished))
        self._dead.set(found.dead_letters)
        self._webhooks.set(found.webhooks_waiting)
        self._agents.set(found.agents_announced)
