"""How long a reader holds out while Redis is away; never sleeps itself, so it serves sync and async alike."""

from __future__ import annotations

from collections.abc import Callable

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError

from queues.connections import PATIENCE_SECONDS

# A server that changed its role lets go of those who wait, and a replica without its primary may answer nobody.
_PASSING = ("UNBLOCKED", "MASTERDOWN", "Link with MASTER is down")


class Patience:
    """For one command that may be repeated: up to the deadline (on `clock`), or for a quarter of an hour.

    Its pauses grow, up to two seconds, and are random, so that many who wait do not come back at one moment.
    """

    def __init__(self, deadline: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + PATIENCE_SECONDS if deadline is None else min(deadline, clock() + PATIENCE_SECONDS)
        self._backoff = ExponentialWithJitterBackoff(base=0.05, cap=2.0)
        self._failures = 0

    def pause_after(self, error: RedisError) -> float:
        """The seconds until the next try; raises the error if time does not mend it, or is over."""
        left = self._until - self._clock()
        if left <= 0 or not _passes(error):
            raise error
        self._failures += 1
        return min(left, self._backoff.compute(self._failures))


def _passes(error: RedisError) -> bool:
    if isinstance(error, ResponseError):
        return str(error).startswith(_PASSING)
    refused = isinstance(error, AuthenticationError | AuthorizationError)
    return isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError) and not refused
