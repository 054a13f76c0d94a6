"""What a process counted is added to the store once, whatever becomes of the answers on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from queues import keys
from queues.connections import connect
from queues.count_telling import CountTeller
from queues.counting import Figure, field_of
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

LOST: Figure = ("errandry_leases_lost_total", "call")
FAILED: Figure = ("errandry_calls_total", "shell", "failed")


class Counted:
    """What is given to a teller, one batch at each time that it asks."""

    def __init__(self, *batches: Mapping[Figure, int]) -> None:
        self.batches = list(batches)

    def take(self) -> Mapping[Figure, int]:
        return self.batches.pop(0) if self.batches else {}


def told(connection: redis.Redis, pool: str | None = "shell") -> dict[str, str]:
    found: Any = connection.hgetall(keys.counts(pool))
    return dict(found)


def teller(connection: redis.Redis, counted: Counted, process: str = "one", pool: str | None = "shell") -> CountTeller:
    return CountTeller(connection, pool=pool, process=process, take=counted.take)


def test_batches_and_processes_add_up(redis_connection: redis.Redis) -> None:
    first = Counted({LOST: 2, FAILED: 1}, {LOST: 3})
    assert teller(redis_connection, first).tell()
    second = teller(redis_connection, Counted({FAILED: 10}), process="two")
    assert second.tell() and second.tell()
    assert told(redis_connection) == {field_of(LOST): "5", field_of(FAILED): "11"}
    assert told(redis_connection, None) == {}


def test_where_nothing_was_counted_nothing_is_sent(redis_connection: redis.Redis) -> None:
    assert teller(redis_connection, Counted()).tell()
    assert redis_connection.keys("errandry:*") == []


def test_how_far_a_process_told_is_forgotten_in_the_end(redis_connection: redis.Redis) -> None:
    teller(redis_connection, Counted({LOST: 1})).tell()
    assert 80_000 < redis_connection.ttl(keys.counted("shell", "one")) <= 86_400
    assert redis_connection.ttl(keys.counts("shell")) == -1


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(urlsplit(redis_url).port or 0) as proxy:
        yield proxy


def through(proxy: Proxy, redis_url: str) -> redis.Redis:
    parts = urlsplit(redis_url)
    place = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return connect(parts._replace(netloc=f"{place}127.0.0.1:{proxy.port}").geturl(), socket_timeout_seconds=60)


def test_a_telling_whose_answer_was_lost_adds_once(proxy: Proxy, redis_url: str, redis_connection: redis.Redis) -> None:
    with through(proxy, redis_url) as connection:
        counted = Counted({LOST: 1}, {LOST: 7}, {FAILED: 1})
        telling = teller(connection, counted)
        # Known to the server, so that one command is all that is sent.
        teller(redis_connection, Counted({FAILED: 1}), process="before").tell()
        connection.ping()
        proxy.mute()
        thread = threading.Thread(target=telling.tell)
        thread.start()
        wait_until(lambda: told(redis_connection).get(field_of(LOST)) == "1", "the first batch has arrived")
        proxy.cut()
        proxy.resume()
        thread.join(60)
        assert not thread.is_alive() and telling.tell()
    assert told(redis_connection) == {field_of(LOST): "8", field_of(FAILED): "2"}


def test_what_redis_does_not_take_comes_with_the_next(redis_connection: redis.Redis) -> None:
    counted = Counted({LOST: 1})
    telling = teller(redis_connection, counted)
    redis_connection.set(keys.counts("shell"), "in the way")
    assert not telling.tell()
    counted.batches.append({LOST: 2})
    assert not telling.tell()
    redis_connection.delete(keys.counts("shell"))
    assert telling.tell()
    assert told(redis_connection) == {field_of(LOST): "3"}


@pytest.mark.parametrize("junk", ["x", "1.5", "", "-", "9223372036854775807"])
def test_what_is_no_number_begins_anew(redis_connection: redis.Redis, junk: str) -> None:
    redis_connection.hset(keys.counts("shell"), field_of(LOST), junk)
    assert teller(redis_connection, Counted({LOST: 4, FAILED: 1})).tell()
    assert told(redis_connection) == {field_of(LOST): "4", field_of(FAILED): "1"}
