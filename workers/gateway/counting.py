"""Has what a gateway counted of the calls that executors fetch told to the store, as a worker's heartbeat does."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from queues.connections import connect
from queues.count_telling import CountTeller
from workers.exporters.counts import Counts

_EACH_SECONDS = 3.0


@asynccontextmanager
async def counting(url: str, *, each_seconds: float = _EACH_SECONDS) -> AsyncIterator[None]:
    """Count as long as the block lasts; what Redis did not take by then is gone."""
    counts = Counts()
    connection = connect(url, client_name="errandry-gateway-counts", max_connections=2)
    teller = CountTeller(connection, pool=None, process=f"gateway:{uuid.uuid4().hex}", take=counts.take)

    async def tell() -> None:
        while True:
            await asyncio.sleep(each_seconds)
            await asyncio.to_thread(teller.tell)

    end, telling = counts.listen(about="call."), asyncio.create_task(tell())
    try:
        yield
    finally:
        end()
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
        await asyncio.to_thread(teller.tell)
        connection.close()
