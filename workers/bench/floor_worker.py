"""A worker of the floor: bare Celery, a no-op task on each of three queues, each of which publishes the next.

BENCH_FLOOR_URL=redis://… celery -A workers.bench.floor_worker worker --queues floor.first

Its settings are those of our own workers wherever they have a price: late acknowledgement, events, one queue one list.
It never runs anything of ours.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable

import redis
from celery import Celery
from celery.exceptions import CPendingDeprecationWarning
from kombu.entity import Queue

URL_VARIABLE = "BENCH_FLOOR_URL"
HOPS = ("floor.first", "floor.second", "floor.third")


def build(url: str) -> Celery:
    """The app of the floor's workers, and of whoever sends them work."""
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    app = Celery("floor", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_queues=[Queue(name, exchange="", routing_key=name) for name in HOPS],  # type: ignore[no-untyped-call]
        task_default_queue=HOPS[0],
        task_default_exchange="",
        task_default_routing_key=HOPS[0],
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "priority_steps": [0],
            "queue_order_strategy": "priority",
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    connection = redis.Redis.from_url(url)
    for place, name in enumerate(HOPS):
        app.task(_hop(app, connection, place), name=name)
    return app


def _hop(app: Celery, connection: redis.Redis, place: int) -> Callable[[str, list[int]], None]:
    def hop(reply_to: str, stamps: list[int]) -> None:
        stamps = [*stamps, time.time_ns()]
        if place + 1 == len(HOPS):
            connection.lpush(reply_to, json.dumps(stamps))
            return
        following = HOPS[place + 1]
        app.tasks[following].apply_async((reply_to, stamps), queue=following)

    return hop


def __getattr__(name: str) -> Celery:
    """Build the app when Celery's own command asks for it; importing this module reads nothing."""
    if name in ("app", "celery"):
        return build(os.environ[URL_VARIABLE])
    raise AttributeError(name)
