"""Delivers webhooks for as long as the gateway runs, and refuses at the door what could never be delivered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from queues.connections import aconnect, connect
from queues.errors import SettingsError, WebhookUrlError
from queues.runs import Runs
from queues.settings_gateway import GatewaySettings
from queues.timing import Timing
from queues.webhook_urls import checked_webhook_url
from queues.webhooks import LEASE_SECONDS, Webhooks
from workers.gateway.webhooks.delivery import Deliverer
from workers.gateway.webhooks.hosts import Hosts
from workers.gateway.webhooks.posting import Poster, forbidden_literal
from workers.gateway.webhooks.sender import AT_ONCE, Sender
from workers.gateway.webhooks.signing import keys_of
from workers.references import ReferenceUnusableError, referenced
from workers.resolving import resolve

_CLIENT_NAME = "errandry-webhooks"
_AT_ONCE_PER_HOST = 16
_STORE_THREADS = 4
_NAME_THREADS = 16

_log = logging.getLogger(__name__)


@asynccontextmanager
async def delivering(
    url: str, settings: GatewaySettings, *, lease_seconds: float = LEASE_SECONDS
) -> AsyncIterator[None]:
    """Within the block, what runs announce is delivered; at its end the deliveries at hand come to theirs.

    `url` is the store's, with a user that may do as the gateway's may.
    """
    secret = WebhookSecret(settings, os.environ)
    hosts = Hosts(at_once=_AT_ONCE_PER_HOST)
    waking = aconnect(url, client_name=_CLIENT_NAME)
    with (
        connect(url, client_name=_CLIENT_NAME) as connection,
        # Of its own each: all threads of one may be waiting for a store, or for a name server.
        contextlib.closing(_Threads(_STORE_THREADS)) as storing,
        contextlib.closing(_Threads(_NAME_THREADS)) as naming,
    ):
        resolver = partial(resolve, threads=naming)
        poster = Poster(allow_private=settings.webhook_allow_private, resolver=resolver, at_once=AT_ONCE)
        webhooks = Webhooks(connection, lease_seconds=lease_seconds)
        deliverer = Deliverer(webhooks, Runs(connection, timing=Timing()), poster=poster, hosts=hosts, threads=storing)
        sender = Sender(webhooks, deliverer, waking, signing_keys=secret.keys, hosts=hosts, threads=storing)
        running = asyncio.create_task(sender.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await sender.finish()
            await poster.aclose()
            await waking.aclose()


class WebhookSecret:
    """The secret that deliveries are signed with, read anew each time, so that a rotated one counts at once."""

    def __init__(self, settings: GatewaySettings, variables: Mapping[str, str]) -> None:
        self._reference = settings.webhook_secret
        self._variables = variables
        self._warned = False

    def keys(self) -> list[bytes] | None:
        """The keys to sign with; None if the settings name no secret, SettingsError if it cannot be had."""
        if self._reference is None:
            return None
        try:
            return keys_of(referenced(self._reference, self._variables, exposed=self._warn))
        except ReferenceUnusableError as error:
            raise SettingsError(f"webhook_secret of [gateway] is {self._reference}, but {error}.") from error

    def _warn(self, path: Path) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("the secret of webhooks lies in %s, which every user of this machine can read", path)


def check_webhook(url: str, settings: GatewaySettings) -> None:
    """WebhookUrlError for a URL that nothing could be delivered to, as far as that shows without looking a name up."""
    parts = checked_webhook_url(url)
    if settings.webhook_secret is None:
        raise WebhookUrlError(
            "this gateway posts to no webhook, because nothing could be signed: set webhook_secret in [gateway], as in "
            '"env:WEBHOOK_SECRET", or leave webhook_url out'
        )
    sentence = forbidden_literal(parts.hostname or "", allow_private=settings.webhook_allow_private)
    if sentence is not None:
        raise WebhookUrlError(f"webhook_url: {sentence}")


class _Threads(ThreadPoolExecutor):
    """Threads that nobody waits for at the end."""

    def close(self) -> None:
        self.shutdown(wait=False, cancel_futures=True)
