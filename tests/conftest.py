"""Fixtures for all tests; starts a server only for tests that ask for one."""

import signal

from tests.support.queue_floor import floor
from tests.support.valkey import cleared_server, embedded_server, redis_connection, redis_url

# Whoever starts the tests in the background has Ctrl-C ignored by them, and by all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

__all__ = ["cleared_server", "embedded_server", "floor", "redis_connection", "redis_url"]
