"""One try to deliver an announcement, and what comes of it: done with, tried again later, or buried."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import redis

from agent_core.errors import RunNotFoundError
from queues.connections import insist
from queues.errors import WebhookUrlError
from queues.runs import Runs
from queues.webhook_urls import checked_webhook_url
from queues.webhooks import WAITS_SECONDS, Due, Try, Webhooks
from workers.gateway.webhooks.hosts import Hosts
from workers.gateway.webhooks.payload import payload
from workers.gateway.webhooks.posting import DeliveryError, Poster
from workers.gateway.webhooks.signing import signed_headers

T = TypeVar("T")
_PATIENCE_SECONDS = 10.0
_JITTER = (0.8, 1.2)

_log = logging.getLogger(__name__)


class Deliverer:
    """Carries tries out. Whatever goes wrong with one concerns no other."""

    def __init__(self, webhooks: Webhooks, runs: Runs, *, poster: Poster, hosts: Hosts, threads: Executor) -> None:
        """`threads` is where the store is spoken to."""
        self._webhooks = webhooks
        self._runs = runs
        self._poster = poster
        self._hosts = hosts
        self._threads = threads

    async def deliver(self, held: Try, due: Due, signing_keys: Sequence[bytes] | None) -> bool:
        """Post it, and write down what came of it; raises nothing. False if it is to be tried again.

        If that cannot be written down, the try's lease runs out and it is delivered once more, under the same id.
        """
        try:
            failure = await self._failure_of(held, due, signing_keys)
            if failure is not None:
                return await self._failed(held, due, failure)
            await self._stored(lambda: self._webhooks.close(held.announcement))
            return True
        except (redis.RedisError, OSError) as error:
            _log.warning("what came of webhook %s could not be stored: %s", held.announcement.id, type(error).__name__)
        except Exception:
            _log.exception("webhook %s: what came of it could not be stored", held.announcement.id)
        return False

    async def _failure_of(self, held: Try, due: Due, signing_keys: Sequence[bytes] | None) -> DeliveryError | None:
        """Why it was not delivered; None if it was, or if there is nothing to deliver any more."""
        try:
            await self._post(held, due, signing_keys)
        except DeliveryError as failure:
            return failure
        except redis.RedisError:
            raise
        except Exception:
            _log.exception("webhook %s cannot be posted", held.announcement.id)
            return DeliveryError("a fault of the gateway's, which its log describes")
        return None

    async def _post(self, held: Try, due: Due, signing_keys: Sequence[bytes] | None) -> None:
        if signing_keys is None:
            raise DeliveryError("webhook_secret of [gateway] is not set, so nothing can be signed", is_final=True)
        try:
            url = checked_webhook_url(due.url or "")
        except WebhookUrlError as error:
            raise DeliveryError(str(error), is_final=True) from error
        if reason := self._hosts.resting(due.host):
            raise DeliveryError(reason)
        body = await self._in_thread(lambda: self._body(held))
        if body is not None:
            headers = signed_headers(held.announcement.id, body, at=int(time.time()), keys=signing_keys)
            await self._poster.post(url, body, headers)
            self._hosts.answered(due.host)

    def _body(self, held: Try) -> bytes | None:
        try:
            return payload(held.announcement, self._runs.load(held.announcement.run_id), self._runs)
        except RunNotFoundError:
            return None

    async def _failed(self, held: Try, due: Due, failure: DeliveryError) -> bool:
        """Bury it, if this was its last try, or have it tried again."""
        match failure.host:
            case "silent":
                self._hosts.gave_no_answer(due.host, str(failure))
            case "answered":
                self._hosts.answered(due.host)
            case "unasked":
                pass
        is_last = failure.is_final or held.number > len(WAITS_SECONDS)
        _log.log(
            logging.WARNING if is_last else logging.INFO,
            "webhook %s was not delivered to %s at try %d: %s",
            *(held.announcement.id, due.host, held.number, str(failure)),
        )
        if is_last:
            reason = f"not delivered to {due.host} (try {held.number}): {failure}"
            await self._stored(lambda: self._webhooks.bury(held, reason=reason))
            return True
        wait = WAITS_SECONDS[held.number - 1] * random.uniform(*_JITTER)  # noqa: S311 - it keeps no secret
        await self._stored(lambda: self._webhooks.put_off(held, seconds=wait))
        return False

    async def _stored(self, command: Callable[[], T]) -> T:
        """A command's answer, even if the store is away for a moment."""
        return await self._in_thread(lambda: insist(command, patience_seconds=_PATIENCE_SECONDS))

    async def _in_thread(self, command: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, command)
