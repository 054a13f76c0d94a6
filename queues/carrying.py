"""Carries out what generators ask of Redis, sync and async: the one place where reading waits and tries again.

Knows nothing of what is asked for. It never polls: a request for what comes next blocks in Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import RedisError

from queues.patience import Patience
from queues.replies import is_wrong_type
from queues.requests import SPOILT, Asking, NextEntries, Request, T

Clock = Callable[[], float]

_BLOCK_SECONDS = 4.0  # less than the socket's time-out


def result_of(connection: redis.Redis, steps: Asking[T], *, deadline: float | None, clock: Clock) -> T:
    """What the generator returns. At the deadline (on `clock`) it is thrown a TimeoutError instead of being waited for.

    A server that is away is waited for, up to the deadline or a quarter of an hour; then its error is raised.
    """
    try:
        request = next(steps)
        while True:
            if is_over(request, deadline, clock):
                request = steps.throw(TimeoutError())
            else:
                request = steps.send(carry_out(connection, request, deadline, clock))
    except StopIteration as end:
        result: T = end.value
        return result


async def aresult_of(connection: redis.asyncio.Redis, steps: Asking[T], *, deadline: float | None, clock: Clock) -> T:
    """Do as `result_of`; whoever is cancelled here leaves nothing behind."""
    try:
        request = next(steps)
        while True:
            if is_over(request, deadline, clock):
                request = steps.throw(TimeoutError())
            else:
                request = steps.send(await acarry_out(connection, request, deadline, clock))
    except StopIteration as end:
        result: T = end.value
        return result


def is_over(request: Request, deadline: float | None, clock: Clock) -> bool:
    """Whether the time to wait for more has come to its end; what was read already is told all the same."""
    return isinstance(request, NextEntries) and request.waits and deadline is not None and clock() >= deadline


def carry_out(connection: redis.Redis, request: Request, deadline: float | None, clock: Clock) -> Any:
    """The reply; a server that is away is waited for, unless the request is one that is answered at once or not."""
    patience = Patience(deadline, clock)
    while True:
        try:
            return connection.execute_command(*_words(request, deadline, clock))  # type: ignore[no-untyped-call]
        except RedisError as error:
            if _is_junk(request, error):
                return SPOILT
            if request.at_once:
                raise
            pause_seconds = patience.pause_after(error)
        time.sleep(pause_seconds)


async def acarry_out(connection: redis.asyncio.Redis, request: Request, deadline: float | None, clock: Clock) -> Any:
    """Do as `carry_out`."""
    patience = Patience(deadline, clock)
    while True:
        try:
            return await connection.execute_command(*_words(request, deadline, clock))  # type: ignore[no-untyped-call]
        except RedisError as error:
            if _is_junk(request, error):
                return SPOILT
            if request.at_once:
                raise
            pause_seconds = patience.pause_after(error)
        await asyncio.sleep(pause_seconds)


def _is_junk(request: Request, error: RedisError) -> bool:
    return request.bears_junk and is_wrong_type(error)


def _words(request: Request, deadline: float | None, clock: Clock) -> tuple[str | int, ...]:
    """The command; it waits no longer than the deadline leaves."""
    if not isinstance(request, NextEntries):
        return request.words
    left = _BLOCK_SECONDS if deadline is None else min(_BLOCK_SECONDS, deadline - clock())
    return request.command(max(1, round(1000 * left)))
