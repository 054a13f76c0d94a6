"""A run's events as a stream of server-sent events, for as long as somebody reads and the gateway serves.

Holds one event at a time: the reader's socket decides when the next is fetched, so a slow reader slows nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_core.errors import ErrandryError
from agent_core.events import RunEvent
from workers.gateway.problems import ProblemError

HEARTBEAT_SECONDS = 15.0
MOST_STREAMS = 2000
_FAREWELL_SECONDS = 1.0
_HEARTBEAT = b":\n\n"
_logger = logging.getLogger("errandry.gateway")


class Streams:
    """The open streams of a gateway, and those who wait for a run's end: so many and no more, and all ended together
    when it leaves. Each holds a connection to the store.
    """

    def __init__(self, *, most: int = MOST_STREAMS) -> None:
        self.open = 0
        self.over = asyncio.Event()
        self._most = most

    def refuse_if_full(self) -> None:
        """503 once there is no room for another, or the gateway leaves."""
        if self.open >= self._most or self.over.is_set():
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "This gateway takes no further streams and waits just now; try again, or ask another one.",
                headers={"Retry-After": "2"},
            )

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Counts one while the block lasts."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


class EventStream(Response):
    """The answer: frames until the events end, the reader is gone or the gateway leaves; then the events are closed.

    Closing them gives their connection to the store back, whatever they were waiting for.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[RunEvent, None], *, streams: Streams, heartbeat_seconds: float) -> None:
        super().__init__()
        # Proxies that gather an answer before they pass it on would keep events back.
        self.headers["X-Accel-Buffering"] = "no"
        del self.headers["content-length"]
        self._events = events
        self._streams = streams
        self._heartbeat_seconds = heartbeat_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.one_more():
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            telling = asyncio.create_task(self._tell(send))
            gone = asyncio.create_task(_disconnected(receive))
            over = asyncio.create_task(self._streams.over.wait())
            try:
                await asyncio.wait((telling, gone, over), return_when=asyncio.FIRST_COMPLETED)
                is_gone = gone.done()
            finally:
                try:
                    await _ended(telling, gone, over)
                finally:
                    await self._events.aclose()
            if not is_gone:
                with contextlib.suppress(TimeoutError):
                    # Bounded, because a reader that takes nothing would keep the gateway from leaving.
                    await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), _FAREWELL_SECONDS)

    async def _tell(self, send: Send) -> None:
        try:
            async with aclosing(frames(self._events, heartbeat_seconds=self._heartbeat_seconds)) as told:
                async for frame in told:
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
        except ErrandryError as error:
            # The headers are out; the reader comes back with its last event's id and is told the reason then.
            _logger.warning("a stream of events ends early: %s", error)


async def beginning_with(first: RunEvent, events: AsyncGenerator[RunEvent, None]) -> AsyncGenerator[RunEvent, None]:
    """The events with one in front that was taken from them to see whether there are any."""
    async with aclosing(events):
        yield first
        async for event in events:
            yield event


async def frames(events: AsyncIterator[RunEvent], *, heartbeat_seconds: float) -> AsyncGenerator[bytes, None]:
    """One frame for each event, and a comment whenever nothing happens for so long."""
    # At once, so that the reader knows that it is heard even if nothing happens for a while.
    yield _HEARTBEAT
    coming: asyncio.Future[RunEvent] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait((coming,), timeout=heartbeat_seconds)
            if not done:
                yield _HEARTBEAT
                continue
            try:
                event, coming = coming.result(), None
            except StopAsyncIteration:
                return
            yield framed(event)
    finally:
        if coming is not None:
            await _ended(coming)


def framed(event: RunEvent) -> bytes:
    """An event on the wire. JSON has no line ends of its own, so one line of data holds it."""
    data = event.model_dump_json(exclude_none=True)
    return f"id: {event.event_id}\nevent: {event.event}\ndata: {data}\n\n".encode()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, StopAsyncIteration):
            raise outcome
