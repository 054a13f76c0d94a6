"""Names on the broker: queues, lanes and tasks of agents and pools; declares nothing by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Lane = Literal["low", "normal", "high"]
LANES: tuple[Lane, ...] = get_args(Lane)

# A worker asks its queues in this order, so a high lane is served before the others.
_BY_URGENCY: tuple[Lane, ...] = ("high", "normal", "low")

AGENTS_QUEUE = "agents"


def _lane(queue: str, lane: Lane) -> str:
    return queue if lane == "normal" else f"{queue}.{lane}"


def agents_queue(lane: Lane = "normal") -> str:
    """The queue of runs that are due, one list per lane."""
    return _lane(AGENTS_QUEUE, lane)


def pool_queue(pool: str, lane: Lane = "normal") -> str:
    """The dedicated queue of a tool pool, one list per lane."""
    return _lane(f"tools.{pool}", lane)


def agents_queues() -> list[str]:
    """All lanes that an agent worker consumes, most urgent first."""
    return [agents_queue(lane) for lane in _BY_URGENCY]


def pool_queues(pool: str) -> list[str]:
    """All lanes that a tool worker of the pool consumes, most urgent first."""
    return [pool_queue(pool, lane) for lane in _BY_URGENCY]


def agent_task(agent_name: str) -> str:
    """The Celery task name under which Flower shows an agent."""
    return f"agents.{agent_name}"


def tool_task(pool: str, tool_name: str) -> str:
    """The Celery task name under which Flower shows a tool of a pool."""
    return f"tools.{pool}.{tool_name}"


def lane_named(name: str | None) -> Lane:
    """The lane a stored name stands for; what was stored without one runs in the normal lane."""
    for lane in LANES:
        if lane == name:
            return lane
    return "normal"


@dataclass(frozen=True)
class Place:
    """What a queue is for: the agents (`pool` is None) or a pool, and how the names of its tasks begin."""

    queue: str
    pool: str | None
    task_prefix: str


def place_of(queue: str) -> Place | None:
    """What one of our queues is for; None for the inboxes that Kombu makes for itself."""
    if queue in agents_queues():
        return Place(queue, None, agent_task(""))
    start, _, rest = queue.partition(".")
    pool = rest.partition(".")[0]
    if start == "tools" and queue in pool_queues(pool):
        return Place(queue, pool, tool_task(pool, ""))
    return None
