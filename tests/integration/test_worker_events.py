"""Events of tasks are told while somebody listens, and hardly cost anything while nobody does."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.worker.control import Panel

from queues.acl import FLOWER
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.waiting import comes_true, wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def dispatcher(app: Celery) -> Iterator[Any]:
    """As a worker has one, except that it gathers no events to tell them together."""
    with app.connection_for_write() as connection, app.events.Dispatcher(connection, hostname="w@test") as dispatcher:
        yield dispatcher


class Listener:
    """A monitor, with the rights of Flower."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._connection = connect(server.url_of(FLOWER))
        self._subscription = self._connection.pubsub()  # type: ignore[no-untyped-call]
        self._subscription.psubscribe("/0.celeryev/*")
        assert self._subscription.get_message(timeout=10)["type"] == "psubscribe"
        self._heard: list[str] = []

    def has_heard(self, uuid: str) -> bool:
        """Whether it has heard of that task by now."""
        while (message := self._subscription.get_message(timeout=0.05)) is not None:
            self._heard.append(base64.b64decode(json.loads(message["data"])["body"]).decode())
        return any(uuid in event for event in self._heard)

    def hears(self, uuid: str) -> bool:
        """Whether it hears of that task; the server answers who tells before it tells who listens."""
        return comes_true(lambda: self.has_heard(uuid), timeout_seconds=30)

    def leave(self) -> None:
        self._subscription.close()
        self._connection.close()


@pytest.fixture
def listener(server: EmbeddedServer) -> Iterator[Listener]:
    found = Listener(server)
    yield found
    found.leave()


def published(owner: redis.Redis) -> int:
    """How often anything was published so far."""
    return int(owner.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"])


def tell(dispatcher: Any, uuid: str) -> None:
    dispatcher.send("task-received", uuid=uuid, name="tools.shell.run_command")


def test_tasks_that_nobody_asks_after_are_hardly_told(dispatcher: Any, owner: redis.Redis) -> None:
    begun = time.monotonic()
    for number in range(500):
        tell(dispatcher, f"task {number}")
    seconds = time.monotonic() - begun
    assert 1 <= published(owner) <= 1 + seconds


def test_heartbeats_are_told_to_nobody_too(dispatcher: Any, owner: redis.Redis) -> None:
    for _ in range(5):
        dispatcher.send("worker-heartbeat")
    assert published(owner) == 5


def test_whoever_listens_hears_of_every_task(dispatcher: Any, listener: Listener) -> None:
    for number in range(50):
        tell(dispatcher, f"task {number}.")
    assert all(listener.hears(f"task {number}.") for number in range(50))


def test_whoever_begins_to_listen_hears_within_a_second_or_so(dispatcher: Any, server: EmbeddedServer) -> None:
    """Also one that says nothing of itself: an event a second is told to find that out."""
    tell(dispatcher, "before")
    listener, uuids = Listener(server), [f"task {number}." for number in range(1000)]
    left = iter(uuids)

    def is_heard() -> bool:
        tell(dispatcher, uuid := next(left))
        return listener.has_heard(uuid)

    wait_until(is_heard, "an event is heard", timeout_seconds=30)
    tell(dispatcher, "the next")
    assert listener.hears("the next") and not listener.has_heard("before")
    listener.leave()


def test_whoever_says_that_it_listens_hears_the_next_event(dispatcher: Any, server: EmbeddedServer) -> None:
    tell(dispatcher, "before")
    tell(dispatcher, "unheard")
    listener = Listener(server)
    state = SimpleNamespace(consumer=SimpleNamespace(event_dispatcher=dispatcher))
    assert Panel.data["enable_events"](state) == {"ok": "task events already enabled"}
    tell(dispatcher, "the next")
    assert listener.hears("the next") and not listener.has_heard("unheard")
    listener.leave()


def test_whoever_leaves_is_told_nothing_more(dispatcher: Any, server: EmbeddedServer, owner: redis.Redis) -> None:
    listener = Listener(server)
    tell(dispatcher, "heard")
    assert listener.hears("heard")
    listener.leave()
    wait_until(lambda: owner.pubsub_numpat() == 0, "it has left")
    before, begun = published(owner), time.monotonic()
    for number in range(200):
        tell(dispatcher, f"task {number}")
    assert published(owner) - before <= 1 + time.monotonic() - begun


def test_what_a_lost_broker_does_not_take_is_told_once_it_is_back(dispatcher: Any, server: EmbeddedServer) -> None:
    listener = Listener(server)
    tell(dispatcher, "heard")
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive, "the server is gone")
    listener.leave()
    tell(dispatcher, "kept")
    assert server.revive()
    again = Listener(server)
    dispatcher.flush()
    assert again.hears("kept")
    again.leave()
