"""A project's Redis users on a running server: set as an operator sets them, and asked what they were refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit, urlunsplit

import redis

from queues.connections import connect
from queues.passwords import complete_passwords
from queues.redis_url import project_roles
from queues.settings import Settings


def let_in(owner_url: str, settings: Settings) -> None:
    """Set all users of the project on the server, with the passwords of its `redis_users` file."""
    assert settings.redis_users_file is not None
    roles = project_roles(settings)
    passwords = complete_passwords(settings.redis_users_file, [role.user for role in roles])
    with connect(owner_url) as connection:
        for role in roles:
            connection.execute_command("ACL", "SETUSER", *role.setuser(passwords[role.user]).split())


def without_user(url: str) -> str:
    """The address alone."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def nobody_refused(owner_url: str) -> Iterator[None]:
    """Within the block no user asks for what it may not do; says who asked for what."""
    with connect(owner_url) as connection:
        connection.acl_log_reset()
        yield
        assert refusals(connection) == []


def refusals(owner: redis.Redis) -> list[str]:
    """What the server refused since its log was reset, as `user: reason object`."""
    entries = cast(list[dict[str, object]], owner.acl_log())
    return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in entries]
