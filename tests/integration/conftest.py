"""What several modules want: a gateway of the test's own, and one pool's server, also of the test's own.

A module that wants another has its own fixtures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis
from celery import Celery

from queues.acl import pool_user, roles
from queues.celery_app import tool_app
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.settings import PoolSettings, load_settings
from tests.support.gateways import Served, project, serving
from tests.support.redis_users import nobody_refused, refusals


@pytest.fixture
def served(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    """Without keys and pools; none of its Redis commands may be refused."""
    with nobody_refused(redis_url), serving(project(tmp_path, redis_url)) as found:
        yield found


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    """Somebody on this machine who asks it."""
    with served.asking() as asking:
        yield asking


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """With the Redis users of a pool `shell`, to none of whom anything may be refused."""
    with EmbeddedServer.start(tmp_path / "server", roles=roles(["shell"])) as server:
        yield server
        if server.is_alive:
            with connect(server.url) as owner:
                assert refusals(owner) == []


@pytest.fixture
def owner(server: EmbeddedServer) -> Iterator[redis.Redis]:
    """Who may look at everything on the pool's server."""
    with connect(server.url) as connection:
        yield connection


@pytest.fixture
def app(tmp_path: Path, server: EmbeddedServer) -> Iterator[Celery]:
    """What the pool's worker has, as the pool's own Redis user."""
    pools = {"shell": PoolSettings(tools=["walk_tools:run_command"])}
    app = tool_app(load_settings(tmp_path, redis_url=server.url_of(pool_user("shell")), pools=pools), "shell")
    yield app
    app.close()
