"""Fixtures of the tests of the Redis users: a server with the users that a test module names, and their connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from queues.acl import Role, roles
from queues.connections import connect
from queues.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def users() -> list[Role]:
    """Whom the server knows; a module with other pools has a fixture of its own."""
    return roles(("shell", "python"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, users: list[Role]) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path_factory.mktemp("acl") / "server", roles=users) as started:
        yield started


@pytest.fixture
def owner(server: EmbeddedServer) -> Iterator[redis.Redis]:
    """The server's owner, on an empty server that has refused nothing yet."""
    with connect(server.url) as connection:
        connection.flushall()
        connection.script_flush()
        connection.acl_log_reset()
        yield connection


@pytest.fixture
def as_user(server: EmbeddedServer, owner: redis.Redis) -> Iterator[Callable[[str], redis.Redis]]:
    """A connection of each user that is asked for."""
    opened: dict[str, redis.Redis] = {}

    def connected(user: str) -> redis.Redis:
        if user not in opened:
            opened[user] = connect(server.url_of(user), socket_timeout_seconds=5)
        return opened[user]

    yield connected
    for connection in opened.values():
        connection.close()
