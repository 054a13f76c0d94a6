"""What becomes of messages that were taken: none is noted in Redis, and what was not begun goes back to its queue."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from celery import Celery
from kombu.entity import Queue

from queues.acl import FLOWER
from queues.celery_app import watching_app
from queues.embedded import EmbeddedServer
from queues.envelopes import call_envelope
from queues.screening import screened
from queues.settings import load_settings
from queues.topology import place_of, pool_queue
from tests.support.redis_users import refusals
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

QUEUE = pool_queue("shell")


class Taking:
    """A consumer of the pool's lanes, as a worker has one, that begins nothing of what it takes."""

    def __init__(self, app: Celery, connection: Any) -> None:
        self.taken: list[Any] = []
        self.consumer: Any = app.amqp.TaskConsumer(connection, on_message=self.taken.append)
        self.consumer.consume()
        self._connection = connection

    def take(self, number: int) -> None:
        while len(self.taken) < number:
            self._connection.drain_events(timeout=10)

    def wait_in_redis(self, owner: redis.Redis, *, seconds: int = 1) -> None:
        """Ask for the next message and let Redis wait for it, as a worker does that has a place free."""
        self.consumer.channel.brpop_timeout = seconds
        self._connection.transport.cycle.on_poll_start()
        wait_until(lambda: owner.info("clients")["blocked_clients"] == 1, "Redis waits")


def pushed(owner: redis.Redis, *calls: str) -> list[dict[str, object]]:
    """A message of our own for each call, the first to be taken first."""
    messages = [
        call_envelope("shell", "run_command", ("run_1", 1, call), "normal", parent_id="x").render() for call in calls
    ]
    for message in messages:
        owner.lpush(QUEUE, message)
    return [json.loads(message) for message in messages]


def waiting(owner: redis.Redis) -> list[dict[str, object]]:
    """What waits in the queue, the next to be taken first; each would be taken."""
    place = place_of(QUEUE)
    assert place is not None
    return [screened(raw.encode(), place) for raw in reversed(cast(list[str], owner.lrange(QUEUE, 0, -1)))]


def test_who_leaves_gives_back_what_was_not_begun_in_its_old_order(app: Celery, owner: redis.Redis) -> None:
    first, *_, last = pushed(owner, "a", "b", "c", "d")
    with app.connection_for_read() as connection:
        taking = Taking(app, connection)
        taking.take(4)
        assert owner.keys() == []
        taking.taken[1].ack()
        taking.taken[2].reject()
        (later,) = pushed(owner, "e")
        taking.consumer.cancel()
    assert waiting(owner) == [first, last, later]
    assert owner.keys() == [QUEUE]


def test_what_comes_while_the_worker_stops_goes_back_before_its_last_task_has_ended(
    app: Celery, owner: redis.Redis
) -> None:
    with app.connection_for_read() as connection:
        taking = Taking(app, connection)
        pushed(owner, "under way")
        taking.take(1)
        taking.wait_in_redis(owner, seconds=8)
        (late,) = pushed(owner, "late")
        assert waiting(owner) == []
        taking.consumer.cancel()
        assert waiting(owner) == [late]
        taking.taken[0].ack()
    assert len(taking.taken) == 1 and waiting(owner) == [late]


def test_a_stop_without_anything_on_its_way_gives_nothing_back(app: Celery, owner: redis.Redis) -> None:
    with app.connection_for_read() as connection:
        taking = Taking(app, connection)
        taking.wait_in_redis(owner)
        taking.consumer.cancel()
    assert owner.keys() == []


def test_what_is_handed_back_by_hand_comes_first(app: Celery, owner: redis.Redis) -> None:
    with app.connection_for_read() as connection:
        taking = Taking(app, connection)
        first, second = pushed(owner, "a", "b")
        taking.take(1)
        taking.consumer.cancel()
        taking.taken[0].requeue()
        assert waiting(owner) == [first, second]
    assert waiting(owner) == [first, second]


def test_a_lost_connection_gives_nothing_back_since_its_tasks_go_on(app: Celery, owner: redis.Redis) -> None:
    """A copy would do no harm, but each loss would breed one of each call that is executed."""
    with app.connection_for_read() as connection:
        taking = Taking(app, connection)
        pushed(owner, "a", "b")
        taking.take(2)
        connection.collect()  # what Celery does then, and Redis is there again already
        taking.taken[0].ack()
    assert owner.keys() == []


def test_a_server_that_is_away_keeps_nobody_from_leaving(
    app: Celery, owner: redis.Redis, server: EmbeddedServer
) -> None:
    connection = app.connection_for_read()
    taking = Taking(app, connection)
    pushed(owner, "a", "b")
    taking.take(2)
    taking.consumer.cancel()
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive, "the server is gone")
    taking.taken[0].requeue()
    connection.close()


@pytest.mark.parametrize("address", [{}, {"routing_key": ["x"]}, {"routing_key": "x"}])
def test_an_answer_that_comes_too_late_is_nobodys(
    address: dict[str, object], tmp_path: Path, owner: redis.Redis, server: EmbeddedServer
) -> None:
    """Any worker may answer whoever asks, and may write into the answer what it likes."""
    inbox, app = "x.reply.celery.pidbox", watching_app(load_settings(tmp_path, redis_url=server.url_of(FLOWER)))
    with app.connection_for_read() as connection:
        consumer = connection.Consumer([Queue(inbox, exchange="", routing_key=inbox)])  # type: ignore[no-untyped-call]
        consumer.consume()
        connection.transport.cycle.on_poll_start()
        wait_until(lambda: owner.info("clients")["blocked_clients"] == 1, "Redis waits")
        answer = {"properties": {"delivery_tag": "t", "delivery_info": address}, "body": "e30=", "headers": {}}
        owner.lpush(inbox, json.dumps(answer))
        consumer.cancel()
    app.close()
    assert owner.keys() == [] and refusals(owner) == []
