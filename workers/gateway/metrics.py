"""What the gateway counts, and what it shows of the store, in the words of Prometheus; asks nobody.

Never labels by a run, a key or a path: each label value is a time series that stays.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from workers.gateway.metric_table import REQUESTS, STREAMS
from workers.gateway.store_metrics import Measured, StoreMetrics

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The metrics of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # When a series began is of no use to anybody here, and doubles the text.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._requests = Counter(REQUESTS.name, REQUESTS.help, REQUESTS.labels, registry=self.registry)
        self._streams = Gauge(STREAMS.name, STREAMS.help, registry=self.registry)

    def count_request(self, route: str, method: str, status: int) -> None:
        """Count an answer. Whatever word a caller invents for a method is one series."""
        known = method if method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE") else "other"
        self._requests.labels(route, known, str(status)).inc()

    def render(self, *, open_streams: int, found: Measured | None) -> bytes:
        """All metrics as text. `found` is None if the store does not answer; then its figures are left out."""
        self._streams.set(open_streams)
        return generate_latest(self.registry) + generate_latest(StoreMetrics(found))
