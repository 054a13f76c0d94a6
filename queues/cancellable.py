"""Connections for asyncio that hear a cancellation at every moment; know no command."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio
from redis.asyncio.connection import AbstractConnection


class Cancellable(AbstractConnection):
    """Raises CancelledError for every cancellation that came while a command was being sent.

    redis-py sends within `asyncio.wait_for`, which before Python 3.12 gives the result and forgets the cancellation if
    both come in the same turn of the loop (python/cpython#86296). Whoever was cancelled would then wait for the answer
    of a blocking command, and for the next one's, without end.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        task = asyncio.current_task()
        asked_before = task.cancelling() if task is not None else 0
        await super().send_packed_command(command, check_health)
        if task is not None and task.cancelling() > asked_before:
            # As redis-py does where it hears of it: an answer is under way that nobody will read.
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError


class CancellableConnection(Cancellable, redis.asyncio.Connection):
    """To a host and port."""


class CancellableTLSConnection(Cancellable, redis.asyncio.SSLConnection):
    """To a host and port, behind TLS."""


class CancellableSocketConnection(Cancellable, redis.asyncio.UnixDomainSocketConnection):
    """To a socket's file."""
