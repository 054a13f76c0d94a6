"""Every metric that a gateway exports: its name, type, labels and meaning; what dashboards and alerts may name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from queues.counting import FAMILIES


@dataclass(frozen=True)
class Described:
    """A metric by the name that Prometheus knows it by; a histogram has `_bucket`, `_sum` and `_count` of it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


REQUESTS = Described(
    "errandry_gateway_requests_total",
    "counter",
    ("route", "method", "status"),
    "Requests that this gateway answered, by the route's pattern, method and status.",
)
STREAMS = Described(
    "errandry_gateway_open_streams",
    "gauge",
    (),
    "Streams of events that are open at this gateway, and waits for the end of a run.",
)
UP = Described("errandry_store_up", "gauge", (), "Whether the store answered this scrape.")
RUNS = Described(
    "errandry_runs",
    "gauge",
    ("state",),
    "Runs that the store holds: pending, running, paused, or ended and kept for their retention.",
)
SUBMITTED = Described("errandry_runs_submitted_total", "counter", (), "Runs that were ever stored.")
ENDED = Described(
    "errandry_runs_ended_total", "counter", ("status",), "Ends of runs; one that is retried may end once more."
)
MESSAGES = Described(
    "errandry_queue_messages",
    "gauge",
    ("pool", "lane"),
    "Messages that wait, by pool (empty: the agents' queue) and lane.",
)
OLDEST = Described(
    "errandry_queue_oldest_seconds",
    "gauge",
    ("pool",),
    "How long the call at the head of a pool's queues has waited; 0 if none waits.",
)
OPEN_CALLS = Described(
    "errandry_calls_open",
    "gauge",
    ("pool",),
    "Calls that wait, are executed or back off; estimated from 200 of them where there are more.",
)
TOOL_WORKERS = Described(
    "errandry_tool_workers", "gauge", ("pool",), "Tool workers, or executors, that announce themselves."
)
AGENTS = Described("errandry_agents_announced", "gauge", (), "Agents that agent workers offer just now.")
DEAD = Described("errandry_dead_letters", "gauge", (), "Dead letters that nobody has requeued.")
WEBHOOKS = Described("errandry_webhooks_waiting", "gauge", (), "Webhooks that are to be posted, or posted again.")

COUNTED = tuple(Described(family.name, family.kind, family.labels, family.help) for family in FAMILIES)
OF_THE_STORE = (*(RUNS, SUBMITTED, ENDED, MESSAGES, OLDEST, OPEN_CALLS, TOOL_WORKERS, AGENTS, DEAD, WEBHOOKS),)
ALL = (REQUESTS, STREAMS, UP, *OF_THE_STORE, *COUNTED)
