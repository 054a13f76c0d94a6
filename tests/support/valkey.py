"""Fixtures with a real embedded server: one for the whole session, an empty database for each test.

The conftest.py of the tests hands them on: take `redis_url` or `redis_connection`; for what a whole module shares,
`cleared_server`. `configured` changes a setting of the server for the length of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from queues.acl import ADMIN
from queues.connections import connect
from queues.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The session's server. Whoever kills it calls `revive` afterwards."""
    with EmbeddedServer.start(tmp_path_factory.mktemp("valkey") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def cleared_server(embedded_server: EmbeddedServer) -> EmbeddedServer:
    """The session's server, for what a whole module shares: it lives and holds nothing of earlier ones."""
    embedded_server.revive()
    with connect(embedded_server.url) as connection:
        connection.flushall()
    return embedded_server


@pytest.fixture
def redis_url(embedded_server: EmbeddedServer) -> str:
    """The owner's address of an empty server: no keys, no loaded scripts, no users but the owner."""
    embedded_server.revive()
    connection = connect(embedded_server.url)
    try:
        connection.flushall()
        connection.script_flush()
        others = [str(user) for user in connection.acl_users() if user not in ("default", ADMIN)]
        if others:
            connection.acl_deluser(*others)
    finally:
        connection.close()
    return embedded_server.url


@pytest.fixture
def redis_connection(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the empty server; text in, text out."""
    connection = connect(redis_url)
    yield connection
    connection.close()


@contextmanager
def configured(connection: redis.Redis, name: str, value: object) -> Iterator[None]:
    """The server's setting, put back at the end of the block."""
    before = str(connection.config_get(name)[name])
    connection.config_set(name, str(value))
    try:
        yield
    finally:
        connection.config_set(name, before)
