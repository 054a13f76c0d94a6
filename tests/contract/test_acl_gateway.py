"""The gateway's Redis user: what it counts, and what it may not do with what it counts."""

from __future__ import annotations

import asyncio

import pytest
import redis
from redis.exceptions import NoPermissionError

from queues import keys
from queues.acl import GATEWAY, PRODUCER
from queues.backlog import Backlog, backlog
from queues.connections import aconnect, connect
from queues.embedded import EmbeddedServer
from tests.support.queue_floor import Floor, external

pytestmark = pytest.mark.redis


def counted(url: str) -> Backlog:
    async def count() -> Backlog:
        async with aconnect(url) as connection:
            return await backlog(connection, ["shell", "python"])

    return asyncio.run(count())


def test_it_counts_what_waits(server: EmbeddedServer, owner: redis.Redis) -> None:
    floor = Floor(owner)
    floor.dispatched(external("a"), external("b"))
    owner.acl_log_reset()
    found = counted(server.url_of(GATEWAY))
    assert found.waiting["shell", "normal"] == 2 and set(found.oldest_seconds) == {"shell"}
    assert (found.runs_kept, found.runs_finished, found.dead_letters) == (1, 0, 0)
    assert owner.acl_log() == []


def test_a_producer_does_not_count(server: EmbeddedServer, owner: redis.Redis) -> None:
    with pytest.raises(NoPermissionError):
        counted(server.url_of(PRODUCER))


@pytest.mark.parametrize(
    "command",
    [
        ("LRANGE", "tools.shell", "0", "-1"),
        ("RPOP", "tools.shell"),
        ("BRPOP", "tools.shell", "0.01"),
        ("LTRIM", "tools.shell", "1", "0"),
        ("LLEN", keys.DEAD),
        ("ZCARD", keys.session("s")),
        ("ZCARD", keys.DUE),
        ("PUBLISH", "/0.celery.pidbox", "x"),
        ("CONFIG", "GET", "requirepass"),
        ("HSET", keys.AGENTS, "ops", "9999999999999"),
    ],
    ids=" ".join,
)
def test_it_does_nothing_else_with_queues_and_indexes(
    server: EmbeddedServer, owner: redis.Redis, command: tuple[str, ...]
) -> None:
    with connect(server.url_of(GATEWAY), socket_timeout_seconds=5) as connection, pytest.raises(NoPermissionError):
        connection.execute_command(*command)
