"""Delivers what runs announce: takes what is due, posts it, signed, and says what came of it. Keeps nothing itself.

Several gateways may deliver at once. One that dies in the middle of a delivery has it done once more by another, under
the same id, after the lease of the try.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import redis
import redis.asyncio

from queues import keys
from queues.errors import SettingsError
from queues.webhooks import Due, Try, Webhooks
from workers.gateway.webhooks.delivery import Deliverer
from workers.gateway.webhooks.hosts import Hosts

T = TypeVar("T")
AT_ONCE = 64
_LOOKED_AT = 200
_LONGEST_NAP_SECONDS = 5.0  # what nobody was woken for, since another gateway heard the word and died, is found then
_SHORTEST_NAP_SECONDS = 0.05

_log = logging.getLogger(__name__)


class Sender:
    """Looks for what is due and has it delivered, within bounds."""

    def __init__(
        self,
        webhooks: Webhooks,
        deliverer: Deliverer,
        waking: redis.asyncio.Redis,
        *,
        signing_keys: Callable[[], Sequence[bytes] | None],
        hosts: Hosts,
        threads: Executor,
        at_once: int = AT_ONCE,
    ) -> None:
        """`waking` blocks. `signing_keys` gives the keys as they are now, None where no secret is configured, and
        raises SettingsError while they cannot be had.
        """
        self._webhooks = webhooks
        self._deliverer = deliverer
        self._waking = waking
        self._signing_keys = signing_keys
        self._hosts = hosts
        self._threads = threads
        self._at_once = at_once
        self._deliveries: set[asyncio.Task[None]] = set()
        self._word: asyncio.Task[object] | None = None
        self._put_off = asyncio.Event()

    async def run(self) -> None:
        """Deliver until cancelled. While the store is away, or the secret cannot be had, everything waits there."""
        while True:
            try:
                await self._look()
            except (redis.RedisError, OSError) as error:
                _log.warning("webhooks wait: the store cannot be reached (%s)", type(error).__name__)
                await asyncio.sleep(_LONGEST_NAP_SECONDS)
            except SettingsError as error:
                _log.error("webhooks wait: %s", error)
                await asyncio.sleep(_LONGEST_NAP_SECONDS)
            except Exception:
                # Not the end of all deliveries: whatever it was may concern one look only.
                _log.exception("webhooks could not be looked at")
                await asyncio.sleep(_LONGEST_NAP_SECONDS)

    async def finish(self) -> None:
        """Let the deliveries at hand come to their end, which each does within its time-out."""
        if self._word is not None:
            self._word.cancel()
            await asyncio.gather(self._word, return_exceptions=True)
        while self._deliveries:
            await asyncio.wait(self._deliveries)

    async def _look(self) -> None:
        """Begin what is due and has room, or wait until there may be something to begin."""
        room = self._at_once - len(self._deliveries)
        if room <= 0:
            await asyncio.wait(self._deliveries, return_when=asyncio.FIRST_COMPLETED)
            return
        due = await self._in_thread(lambda: self._webhooks.due(limit=_LOOKED_AT))
        if not due:
            self._hosts.forget_the_quiet()
            await self._nap()
            return
        signing_keys = self._signing_keys()
        chosen: dict[str, Due] = {}
        waits = []
        for one in due:
            seconds = self._hosts.wait_seconds(one.host)
            if seconds:
                waits.append((one.announcement, seconds))
            elif len(chosen) < room:
                self._hosts.begin(one.host)
                chosen[one.announcement.entry] = one
        try:
            taken = await self._in_thread(lambda: self._webhooks.take([one.announcement for one in chosen.values()]))
            for held in taken:
                one = chosen.pop(held.announcement.entry)
                delivery = asyncio.create_task(self._deliver(held, one, signing_keys))
                self._deliveries.add(delivery)
                delivery.add_done_callback(self._deliveries.discard)
        finally:
            for one in chosen.values():
                self._hosts.end(one.host)
        if waits:
            await self._in_thread(lambda: self._webhooks.put_off_untried(waits))

    async def _nap(self) -> None:
        """Sleep until something is due: by now known, put off meanwhile, or new, which a script gives word of."""
        self._put_off.clear()
        until = await self._in_thread(self._webhooks.seconds_until_due)
        longest = _LONGEST_NAP_SECONDS if until is None else min(until, _LONGEST_NAP_SECONDS)
        if self._word is None:
            self._word = asyncio.ensure_future(self._waking.brpop([keys.WEBHOOKS_WAKE], timeout=_LONGEST_NAP_SECONDS))
        put_off = asyncio.create_task(self._put_off.wait())
        try:
            await asyncio.wait(
                (self._word, put_off),
                timeout=max(longest, _SHORTEST_NAP_SECONDS),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            put_off.cancel()
        if self._word.done():
            word, self._word = self._word, None
            word.result()

    async def _deliver(self, held: Try, due: Due, signing_keys: Sequence[bytes] | None) -> None:
        begun = time.monotonic()
        try:
            if not await self._deliverer.deliver(held, due, signing_keys):
                self._put_off.set()
        finally:
            self._hosts.end(due.host, took_seconds=time.monotonic() - begun)

    async def _in_thread(self, command: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, command)
