"""Finds the Redis of a project, and as which user to connect: the configured server, else the embedded one that runs.

It starts no server. What it returns holds a password: it is for connections only, never for a text.
"""

from __future__ import annotations

from contextlib import suppress

from queues.acl import PRODUCER, Role, roles
from queues.connections import check, connect
from queues.embedded import EmbeddedServer
from queues.errors import SettingsError, StoreUnreachableError
from queues.passwords import as_user, names_user, read_passwords
from queues.settings import Settings
from queues.settings_file import no_project
from queues.store_address import StoreAddress


def resolved(settings: Settings, user: str = PRODUCER) -> Settings:
    """The settings with a `redis_url` for one of the users of `queues.acl`.

    A URL that names a user, and one without `redis_users`, is taken as it stands. StoreUnreachableError if none is
    configured and no embedded server runs; SettingsError if there is no project, or `redis_users` lacks the user.
    """
    if settings.redis_url is None:
        url = EmbeddedServer.attach(settings.state_dir, user=user)
        if url is None and not settings.is_project:
            raise SettingsError(no_project(settings.project_dir))
        if url is None:
            raise StoreUnreachableError(
                f"no redis_url is set and no embedded server runs for {settings.project_dir}; "
                "start `errandry up` there, or set redis_url (or ERRANDRY_REDIS_URL)"
            )
        return settings.with_redis_url(url)
    url, file = settings.redis_url.get_secret_value(), settings.redis_users_file
    if file is None or names_user(url):
        return settings
    password = read_passwords(file).get(user)
    if password is None:
        raise SettingsError(
            f"{file} (redis_users) has no password for the Redis user {user}; `errandry acl` makes one, and prints the "
            "rules that the server needs."
        )
    return settings.with_redis_url(as_user(url, user, password))


def admitted(settings: Settings, user: str) -> Settings:
    """As `resolved`, for a process that waits for a server that is away; one that refuses is a StoreRefusedError now.

    So is a server that cannot keep runs, as a node of a cluster.
    """
    settings = resolved(settings, user)
    assert settings.redis_url is not None
    with connect(settings.redis_url.get_secret_value()) as connection, suppress(StoreUnreachableError):
        check(connection)
    return settings


def url_of(settings: Settings, user: str = PRODUCER) -> str:
    """The Redis URL of `resolved`, in the clear."""
    resolved_settings = resolved(settings, user)
    assert resolved_settings.redis_url is not None
    return resolved_settings.redis_url.get_secret_value()


def project_roles(settings: Settings) -> list[Role]:
    """The Redis users of the project, for its pools and the number of its database."""
    database = 0
    if settings.redis_url is not None:
        database = StoreAddress.of(settings.redis_url.get_secret_value()).database
    return roles(
        list(settings.pools), http_pools=settings.http_pools, database=database, durability=settings.durability
    )
