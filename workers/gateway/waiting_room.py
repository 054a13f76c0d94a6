"""Where executors wait for the calls of one pool: first come, first served, and one connection waits for all of them.

Claims no call. A message for somebody who has left meanwhile goes back to the head of its queue at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from redis.exceptions import RedisError

from queues.pool_messages import CallMessage, PoolMessages, UnfitMessage

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.05, 1.0
_FAREWELL_SECONDS = 3.0  # longer than that a server that is away may take to be found so
_log = logging.getLogger("errandry.gateway")


@dataclass(frozen=True, eq=False)
class _Place:
    """Somebody who waits until then."""

    until: float
    coming: asyncio.Future[CallMessage | None]


class WaitingRoom:
    """The executors that wait for calls of one pool. What lies in the queue for nobody stays there."""

    def __init__(self, messages: PoolMessages, *, refuse: Callable[[UnfitMessage], Awaitable[None]]) -> None:
        self._messages = messages
        self._refuse = refuse
        self._places: deque[_Place] = deque()
        self._taking: asyncio.Task[None] | None = None
        self._returns: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._places)

    async def wait(self, *, seconds: float) -> CallMessage | None:
        """The next message that nobody before had; None after about so many seconds. RedisError if Redis is away.

        Whoever is cancelled meanwhile gets nothing, and nothing is kept for it.
        """
        place = _Place(time.monotonic() + seconds, asyncio.get_running_loop().create_future())
        self._places.append(place)
        if self._taking is None:
            self._taking = asyncio.create_task(self._take())
        try:
            return await place.coming
        except asyncio.CancelledError:
            # It may have been given one in the very moment in which it left.
            if place.coming.done() and not place.coming.cancelled() and not place.coming.exception():
                message = place.coming.result()
                if message is not None:
                    self.put_back_later(message)
            raise
        finally:
            if place in self._places:
                self._places.remove(place)

    async def close(self) -> None:
        """Send everybody away. A message that comes in the last moment goes back to its queue."""
        self._dismiss(list(self._places))
        if self._taking is not None:
            _, stuck = await asyncio.wait((self._taking,), timeout=_FAREWELL_SECONDS)
            for task in stuck:
                task.cancel()
        if self._returns:
            await asyncio.wait(self._returns)

    def put_back_later(self, message: CallMessage) -> None:
        """Put a message back that was taken for somebody who has left, without waiting for that."""
        task = asyncio.create_task(self._put_back(message))
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    async def _take(self) -> None:
        """Take messages for as long as somebody waits."""
        try:
            while self._places:
                left = min(place.until for place in self._places) - time.monotonic()
                found = await self._messages.take(seconds=min(max(left, _SHORTEST_SECONDS), _LONGEST_SECONDS))
                if isinstance(found, UnfitMessage):
                    await self._refuse(found)
                elif found is not None:
                    await self._give(found)
                now = time.monotonic()
                self._dismiss([place for place in self._places if place.until <= now])
        except Exception as error:
            # Whatever it was, nobody must be left waiting for a task that is no more.
            while self._places:
                place = self._places.popleft()
                if not place.coming.done():
                    place.coming.set_exception(error)
        finally:
            self._taking = None

    async def _give(self, message: CallMessage) -> None:
        while self._places:
            place = self._places.popleft()
            if not place.coming.done():
                place.coming.set_result(message)
                return
        await self._messages.give_back(message)

    def _dismiss(self, places: list[_Place]) -> None:
        for place in places:
            if place in self._places:
                self._places.remove(place)
            if not place.coming.done():
                place.coming.set_result(None)

    async def _put_back(self, message: CallMessage) -> None:
        try:
            await self._messages.give_back(message)
        except (RedisError, OSError) as error:
            _log.info("a message could not be put back, and is published anew by the sweep: %s", type(error).__name__)
