"""The Redis user of KEDA: what it is sent for, and what it may not do with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import NoPermissionError

from queues.acl import SCALER, roles
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.topology import agents_queue, pool_queue, pool_queues
from tests.support.queue_floor import Floor, external

pytestmark = pytest.mark.redis

# In KEDA's manner: the length of whatever the key is, by a script, so that any type can be counted.
_COUNT = "local kind = redis.call('type', KEYS[1]).ok; return redis.call('llen', KEYS[1])"


@pytest.fixture
def scaler(server: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(server.url_of(SCALER)) as connection:
        yield connection


def test_it_counts_all_lanes_of_all_pools(owner: redis.Redis, scaler: redis.Redis) -> None:
    Floor(owner).dispatched(external("a"), external("b"))
    scaler.execute_command("HELLO", "2")  # type: ignore[no-untyped-call]
    scaler.ping()
    lanes = [*pool_queues("shell"), *pool_queues("python")]
    counted = {lane: scaler.eval(_COUNT, 1, lane) for lane in lanes}
    assert counted == dict.fromkeys(lanes, 0) | {pool_queue("shell"): 2}
    assert owner.acl_log() == []


@pytest.mark.parametrize(
    "command",
    [
        ("EVAL", _COUNT, "1", agents_queue()),
        ("EVAL", "return redis.call('lpop', KEYS[1])", "1", pool_queue("shell")),
        ("EVAL", "return redis.call('lrange', KEYS[1], 0, -1)", "1", pool_queue("shell")),
        ("EVAL", "return redis.call('lpush', KEYS[1], 'junk')", "1", pool_queue("shell")),
        ("EVAL", "return redis.call('hgetall', KEYS[1])", "1", "errandry:tools"),
        ("LRANGE", pool_queue("shell"), "0", "-1"),
        ("DEL", pool_queue("shell")),
        ("HGETALL", "errandry:agents"),
        ("PUBLISH", "/0.celery.pidbox", "{}"),
        ("SELECT", "1"),
        ("CONFIG", "GET", "*"),
        ("KEYS", "*"),
    ],
    ids=lambda command: " ".join(command)[:60],
)
def test_it_does_nothing_else(owner: redis.Redis, scaler: redis.Redis, command: tuple[str, ...]) -> None:
    Floor(owner).dispatched(external("a"))
    with pytest.raises((NoPermissionError, redis.exceptions.ResponseError), match=r"(?i)permission|NOPERM|ACL"):
        scaler.execute_command(*command)  # type: ignore[no-untyped-call]
    assert owner.llen(pool_queue("shell")) == 1
    assert owner.acl_log() != []


def test_a_project_without_pools_has_nothing_to_count() -> None:
    rules = next(role.rules for role in roles(()) if role.user == SCALER)
    assert not [rule for rule in rules if "eval" in rule]
