"""What tool workers say of themselves: who is known, for how long, and that nothing piles up."""

from __future__ import annotations

import pytest
import redis

from queues import keys
from queues.announcements import Announcement, Announcements, announced, waiting
from queues.topology import pool_queues
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

ONE = Announcement("shell@a:1", "ns", 4)
OTHER = Announcement("shell@b:1", "landlock", 2, ("no /dev/shm",))


def test_who_announces_itself_is_known_and_who_withdraws_is_not(redis_connection: redis.Redis) -> None:
    workers = Announcements(redis_connection, "shell", valid_seconds=60)
    workers.announce(OTHER)
    workers.announce(ONE)
    assert announced(redis_connection, "shell") == [ONE, OTHER]
    assert announced(redis_connection, "python") == []

    workers.announce(Announcement("shell@a:1", "shared", 4))
    workers.withdraw(OTHER.worker)
    assert announced(redis_connection, "shell") == [Announcement("shell@a:1", "shared", 4)]


def test_who_falls_silent_is_forgotten(redis_connection: redis.Redis) -> None:
    Announcements(redis_connection, "shell", valid_seconds=60).announce(ONE)
    Announcements(redis_connection, "shell", valid_seconds=0.05).announce(OTHER)

    wait_until(lambda: announced(redis_connection, "shell") == [ONE], "the silent one is forgotten")


def test_what_is_out_of_date_is_trimmed_and_the_rest_expires(redis_connection: redis.Redis) -> None:
    workers = Announcements(redis_connection, "shell", valid_seconds=0.05)
    for number in range(5):
        workers.announce(Announcement(f"shell@pod{number}:1", "ns", 1))
    key = keys.pool_workers("shell")

    def trimmed() -> bool:
        if announced(redis_connection, "shell"):
            return False
        workers.announce(ONE)
        return redis_connection.xlen(key) == 1

    wait_until(trimmed, "only what is valid is left")
    Announcements(redis_connection, "shell", valid_seconds=60).announce(ONE)
    assert 0 < redis_connection.pttl(key) <= 600_000


@pytest.mark.parametrize(
    "said",
    [
        {"worker": "x", "says": "[]", "until": "99999999999999"},
        {"worker": "x", "says": '{"worker": "x", "level": 1}', "until": "99999999999999"},
        {"worker": "x", "says": '{"worker": "x", "level": "ns", "concurrency": 1}', "until": "soon"},
        {"worker": "x", "says": " " * 5000, "until": "99999999999999"},
        {"anything": "else"},
    ],
)
def test_what_cannot_be_read_is_no_announcement(redis_connection: redis.Redis, said: dict[str, str]) -> None:
    redis_connection.xadd(keys.pool_workers("shell"), said)  # type: ignore[arg-type]
    Announcements(redis_connection, "shell", valid_seconds=60).announce(ONE)

    assert announced(redis_connection, "shell") == [ONE]


def test_a_key_of_another_kind_hides_the_workers_and_breaks_nothing(redis_connection: redis.Redis) -> None:
    redis_connection.set(keys.pool_workers("shell"), "junk")

    assert announced(redis_connection, "shell") == []


def test_what_waits_is_counted_by_lane(redis_connection: redis.Redis) -> None:
    redis_connection.lpush("tools.shell", "a", "b")
    redis_connection.lpush("tools.shell.high", "c")

    assert waiting(redis_connection, pool_queues("shell")) == {
        "tools.shell.high": 1,
        "tools.shell": 2,
        "tools.shell.low": 0,
    }
