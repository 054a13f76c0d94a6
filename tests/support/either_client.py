"""Both clients under one face, so that one suite holds both to the same contract: each command is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from agent_core.events import RunEvent
from queues.client import AsyncClient, AsyncRunHandle, Client, RunHandle

KINDS = ("sync", "async")


class EitherClient:
    """A client, or the handle of a run. Commands of the sync one run in threads, so that a test can look on."""

    def __init__(self, behind: Client | AsyncClient | RunHandle | AsyncRunHandle) -> None:
        self.behind = behind

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.behind, name)
        if not callable(member):
            return member

        async def command(*args: object, **settings: object) -> Any:
            if isinstance(self.behind, AsyncClient | AsyncRunHandle):
                found = await member(*args, **settings)
            else:
                found = await asyncio.to_thread(member, *args, **settings)
            return EitherClient(found) if isinstance(found, RunHandle | AsyncRunHandle) else found

        return command

    async def events(self, *args: Any, **settings: Any) -> AsyncIterator[RunEvent]:
        """The events, one by one."""
        told = self.behind.events(*args, **settings)
        if isinstance(told, AsyncGenerator):
            async with aclosing(told):
                async for event in told:
                    yield event
            return
        while (found := await asyncio.to_thread(_next, told)) is not None:
            yield found


def _next(told: Iterator[RunEvent]) -> RunEvent | None:
    return next(told, None)


@asynccontextmanager
async def either_client(kind: str, url: str, **settings: Any) -> AsyncIterator[EitherClient]:
    """A client of that kind, closed at the end of the block."""
    if kind == "async":
        async with AsyncClient(url, **settings) as client:
            yield EitherClient(client)
    else:
        with Client(url, **settings) as client:
            yield EitherClient(client)
