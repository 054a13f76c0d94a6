"""How long the queues are, for Flower's page: asked wherever the store is. Takes nothing from them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from flower import views

from queues.connections import aconnect


class QueueLengths:
    """What Flower wants of a broker, for one request of its page."""

    def __init__(self, url: str, *_: object, **__: object) -> None:
        self._url = url

    async def queues(self, names: Iterable[str]) -> list[dict[str, str | int]]:
        """Name and length of each queue; redis-py's errors, which Flower writes into its log."""
        asked = list(names)
        async with aconnect(self._url) as connection, connection.pipeline(transaction=False) as pipeline:
            for name in asked:
                pipeline.llen(name)
            lengths = await pipeline.execute()
        return [{"name": name, "messages": int(length)} for name, length in zip(asked, lengths, strict=True)]


def ask_at(url: str) -> None:
    """Have Flower's pages ask there. Its own asks one Sentinel only, and of that one's primary only database 0."""
    views.Broker = partial(QueueLengths, url)
