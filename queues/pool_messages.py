"""Takes the messages of one pool's queues for whoever waits there, over asyncio; claims no call.

They are the messages that a tool worker would get from Celery, and judged as strictly. One that is lost on the way is
published anew by the sweep, as everywhere.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio

from queues.calls import CallAddress
from queues.screening import RefusedMessageError, screened
from queues.topology import Place, place_of, pool_queues


@dataclass(frozen=True)
class CallMessage:
    """A message as it was taken: from which queue, and the call that it is about."""

    queue: str
    raw: bytes
    address: CallAddress


@dataclass(frozen=True)
class UnfitMessage:
    """A message that must not be acted on, and why."""

    raw: bytes
    place: Place
    reason: str


class PoolMessages:
    """The queues of one pool, the most urgent first. The connection's answers are bytes."""

    def __init__(self, connection: redis.asyncio.Redis, pool: str) -> None:
        self._connection = connection
        self._queues = pool_queues(pool)

    async def take(self, *, seconds: float) -> CallMessage | UnfitMessage | None:
        """The next message, waited for in Redis for so long; None if there was none."""
        reply = cast(list[bytes] | None, await self._connection.brpop(self._queues, timeout=seconds))
        return judged(reply[0].decode(), reply[1]) if reply else None

    async def give_back(self, message: CallMessage) -> None:
        """Put a message back where it was, to be the next one."""
        await self._connection.rpush(message.queue, message.raw)


def judged(queue: str, raw: bytes) -> CallMessage | UnfitMessage:
    """What a message says, if it reads like one of our own for this queue."""
    place = place_of(queue)
    assert place is not None and place.pool is not None
    try:
        message = screened(raw, place)
    except RefusedMessageError as error:
        return UnfitMessage(raw, place, str(error))
    run_id, step, tool_call_id = _arguments(message)
    tool_name = str(message["headers"]["task"]).removeprefix(place.task_prefix)
    return CallMessage(queue, raw, CallAddress(place.pool, run_id, step, tool_call_id, tool_name))


def _arguments(message: dict[str, Any]) -> tuple[str, int, str]:
    run_id, step, tool_call_id = json.loads(base64.b64decode(message["body"]))[0]
    return run_id, step, tool_call_id
