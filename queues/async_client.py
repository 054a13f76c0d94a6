"""The client for asyncio: the same methods as coroutines, over the same stores.

Short commands run in a few threads of the client's own. What may take long, events and waiting, is native: it holds a
connection while it waits, no thread, and whoever is cancelled leaves neither a task nor a connection behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import aclosing, suppress
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, Self

from pydantic import JsonValue

from agent_core.events import RunEvent
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import ToolExecution
from queues.carrying import aresult_of
from queues.client_stores import CLIENT_NAME, Stores
from queues.connections import Durability, aconnect
from queues.dead_letters import DeadLetter
from queues.event_stream import afollow, awith_calls
from queues.executing import text_of
from queues.lone_calls import LoneCall
from queues.looking import brief_of
from queues.not_given import NOT_GIVEN
from queues.offers import OfferedPool
from queues.requests import Asking, T
from queues.run_handle import AsyncRunHandle, Until
from queues.run_list import RunPage
from queues.sync_client import Client
from queues.timing import Timing
from queues.topology import Lane
from queues.waiting import answered, awaited
from queues.waiting_runs import WaitingRun

P = ParamSpec("P")

_THREADS = 8


class AsyncClient:
    """A producer's connection to the queue, for one event loop. Make one and keep it; `async with` closes it."""

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "everysec",
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """As `Client`; connects at the first use."""
        self._client = Client(url, durability=durability, timing=timing, clock=clock)
        self._stores: Stores = self._client._stores
        self._connection = aconnect(url, client_name=CLIENT_NAME)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=CLIENT_NAME)

    @classmethod
    def from_settings(cls) -> Self:
        """As `Client.from_settings`; reads files, so call it before the loop is busy."""
        # As there: who has a URL needs none of it.
        from queues.redis_url import url_of  # noqa: PLC0415
        from queues.settings import load_settings  # noqa: PLC0415

        settings = load_settings()
        return cls(url_of(settings), durability=settings.durability)

    async def submit(
        self,
        agent: str,
        input: str,
        *,
        idempotency_key: str | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        priority: Lane = "normal",
        deadline_seconds: float | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        webhook_url: str | None = None,
    ) -> AsyncRunHandle:
        """As `Client.submit`. Who is cancelled here does not know whether the run was stored."""
        run = await self._in_thread(
            self._client.submit,
            agent,
            input,
            idempotency_key=idempotency_key,
            session_id=session_id,
            user_id=user_id,
            priority=priority,
            deadline_seconds=deadline_seconds,
            metadata=metadata,
            webhook_url=webhook_url,
        )
        return AsyncRunHandle(self, run.run_id, is_repeat=run.is_repeat)

    async def run(self, run_id: str) -> AsyncRunHandle:
        """As `Client.run`."""
        await self.status(run_id)
        return AsyncRunHandle(self, run_id)

    async def runs(
        self,
        *,
        status: RunStatus | Collection[RunStatus] | None = None,
        agent: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> RunPage:
        """As `Client.runs`."""
        return await self._in_thread(self._client.runs, status=status, agent=agent, limit=limit, before=before)

    async def output(self, run_id: str) -> RunOutput:
        """As `Client.output`."""
        return await self._in_thread(self._client.output, run_id)

    async def status(self, run_id: str) -> RunStatus:
        """As `Client.status`."""
        return await self._in_thread(self._client.status, run_id)

    async def events(
        self,
        run_id: str,
        *,
        after: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the sync client
    ) -> AsyncGenerator[RunEvent, None]:
        """As `Client.events`. Whoever stops early had better close it (`contextlib.aclosing`)."""
        deadline, clock = self._stores.deadline(timeout), self._stores.clock
        with self._stores.reached():
            run = await self._carried_out(brief_of(run_id), None)
            told = afollow(self._connection, run, after=after, deadline=deadline, clock=clock)
            whole = awith_calls(
                self._connection, run_id, told, from_beginning=after is None, deadline=deadline, clock=clock
            )
            async with aclosing(told), aclosing(whole):
                async for event in whole:
                    yield event

    async def wait(
        self,
        run_id: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the sync client
        until: Until = "finished",
    ) -> RunOutput:
        """As `Client.wait`."""
        with self._stores.reached():
            return await self._carried_out(awaited(run_id, until=until, timeout=timeout), timeout)

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        """As `Client.cancel`."""
        return await self._in_thread(self._client.cancel, run_id, reason)

    async def retry(self, run_id: str) -> AsyncRunHandle:
        """As `Client.retry`."""
        await self._in_thread(self._client.retry, run_id)
        return AsyncRunHandle(self, run_id)

    async def execute(
        self,
        tool: ToolExecution | str,
        args: Mapping[str, JsonValue] | None = None,
        *,
        pool: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the sync client
    ) -> str:
        """As `Client.execute`; the call is cancelled also when this is."""
        with self._stores.reached():
            call = await self._in_thread(self._stores.lone_call, tool, args, pool=pool, timeout=timeout)
            handed_out = self._threads.submit(self._stores.lone_calls.hand_out, call)
            try:
                await asyncio.wrap_future(handed_out)
                answer = await self._carried_out(answered(call), timeout)
            except BaseException:
                await self._in_thread(self._leave, call, handed_out)
                raise
            late = await self._in_thread(self._stores.lone_calls.leave, call)
        return text_of(call, late or answer, timeout=timeout)

    async def pending(self, run_id: str) -> list[ToolExecution]:
        """As `Client.pending`."""
        return await self._in_thread(self._client.pending, run_id)

    async def waiting_runs(self, *, limit: int = 50) -> list[WaitingRun]:
        """As `Client.waiting_runs`."""
        return await self._in_thread(self._client.waiting_runs, limit=limit)

    async def settle(
        self,
        run_id: str,
        tool_call_id: str,
        *,
        result: object = NOT_GIVEN,
        error: str | None = None,
        answered_by: str | None = None,
    ) -> None:
        """As `Client.settle`."""
        await self._in_thread(
            self._client.settle, run_id, tool_call_id, result=result, error=error, answered_by=answered_by
        )

    async def confirm(
        self,
        run_id: str,
        tool_call_id: str,
        approved: bool,
        note: str = "",
        *,
        arguments: Mapping[str, JsonValue] | None = None,
        answered_by: str | None = None,
    ) -> None:
        """As `Client.confirm`."""
        await self._in_thread(
            self._client.confirm, run_id, tool_call_id, approved, note, arguments=arguments, answered_by=answered_by
        )

    async def provide_input(
        self, run_id: str, tool_call_id: str, values: Mapping[str, JsonValue], *, answered_by: str | None = None
    ) -> None:
        """As `Client.provide_input`."""
        await self._in_thread(self._client.provide_input, run_id, tool_call_id, values, answered_by=answered_by)

    async def agents(self) -> list[str]:
        """As `Client.agents`."""
        return await self._in_thread(self._client.agents)

    async def pools(self) -> list[OfferedPool]:
        """As `Client.pools`."""
        return await self._in_thread(self._client.pools)

    async def dead_letters(self, *, limit: int = 50) -> list[DeadLetter]:
        """As `Client.dead_letters`."""
        return await self._in_thread(self._client.dead_letters, limit=limit)

    async def dead_letter(self, letter_id: str) -> DeadLetter:
        """As `Client.dead_letter`."""
        return await self._in_thread(self._client.dead_letter, letter_id)

    async def requeue(self, letter_id: str) -> bool:
        """As `Client.requeue`."""
        return await self._in_thread(self._client.requeue, letter_id)

    async def aclose(self) -> None:
        """Give connections and threads back; what is under way in a thread ends by itself. It serves no more then."""
        self._threads.shutdown(wait=False)
        await self._connection.aclose()
        self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _in_thread(self, command: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        # With the caller's context: the span that is active there is the one that a submit belongs to.
        carried = partial(copy_context().run, command, *args, **kwargs)
        return await loop.run_in_executor(self._threads, carried)

    async def _carried_out(self, steps: Asking[T], timeout: float | None) -> T:  # noqa: ASYNC109 - as in the sync client
        stores = self._stores
        return await aresult_of(self._connection, steps, deadline=stores.deadline(timeout), clock=stores.clock)

    def _leave(self, call: LoneCall, handed_out: Future[None]) -> None:
        """In this order, also if the one was cancelled while it was under way."""
        wait([handed_out])
        with suppress(Exception):  # the first error is the one to tell
            self._stores.lone_calls.leave(call)
