"""Finds the Redis of a project: the configured one, else the embedded server that runs for it; starts none."""

from __future__ import annotations

from queues.embedded import EmbeddedServer
from queues.errors import StoreUnreachableError
from queues.settings import Settings


def resolved(settings: Settings) -> Settings:
    """The settings with a `redis_url`; StoreUnreachableError if none is configured and no embedded server runs."""
    if settings.redis_url is not None:
        return settings
    url = EmbeddedServer.attach(settings.state_dir)
    if url is None:
        raise StoreUnreachableError(
            f"no redis_url is set and no embedded server runs for {settings.project_dir}; "
            "start `errandry up` there, or set redis_url (or ERRANDRY_REDIS_URL)"
        )
    return settings.with_redis_url(url)


def url_of(settings: Settings) -> str:
    """The Redis URL of resolved settings, in the clear: for connections only, never for a text."""
    resolved_settings = resolved(settings)
    assert resolved_settings.redis_url is not None
    return resolved_settings.redis_url.get_secret_value()
