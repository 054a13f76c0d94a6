"""What every route finds: the client, the settings, the streams that are open. Made once, when the gateway starts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import redis.asyncio
from fastapi import Depends, Request

from queues.backlog import Backlog, backlog
from queues.client import AsyncClient
from queues.figures import figures
from queues.settings import Settings
from workers.gateway.metrics import Metrics
from workers.gateway.sse import Streams
from workers.gateway.store_metrics import Measured

T = TypeVar("T")
_LOOK_SECONDS = 3.0


@dataclass(frozen=True)
class Gateway:
    """One running gateway. `looking` is a connection of its own, for probes that must not wait behind runs."""

    settings: Settings
    client: AsyncClient
    looking: redis.asyncio.Redis
    metrics: Metrics
    streams: Streams
    heartbeat_seconds: float

    async def look(self) -> Backlog | None:
        """What waits in the store; None if it does not answer soon."""
        return await _soon(backlog(self.looking, list(self.settings.pools)))

    async def measure(self) -> Measured | None:
        """What waits, and all that was counted; None if the store does not answer soon."""
        pools = list(self.settings.pools)

        async def measured() -> Measured:
            return Measured(pools, await backlog(self.looking, pools), await figures(self.looking, pools))

        return await _soon(measured())


async def _soon(asking: Coroutine[Any, Any, T]) -> T | None:
    try:
        return await asyncio.wait_for(asking, _LOOK_SECONDS)
    except (redis.RedisError, OSError, TimeoutError):
        return None


async def _of(request: Request) -> Gateway:
    gateway = request.app.state.gateway
    assert isinstance(gateway, Gateway)
    return gateway


Here = Annotated[Gateway, Depends(_of)]


async def while_asked(request: Request, gateway: Gateway, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of work that may wait for long; None, and the work is cancelled, if its caller is gone meanwhile or
    the gateway leaves.
    """
    working = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request))
    over = asyncio.create_task(gateway.streams.over.wait())
    try:
        await asyncio.wait((working, gone, over), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, gone, over):
            task.cancel()
        await asyncio.gather(working, gone, over, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
