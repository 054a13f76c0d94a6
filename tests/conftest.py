"""Fixtures for all tests; starts a server only for tests that ask for one."""

from tests.support.valkey import embedded_server, redis_connection, redis_url

__all__ = ["embedded_server", "redis_connection", "redis_url"]
