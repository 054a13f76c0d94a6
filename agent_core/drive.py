"""Carries the loop's requests out: once sync, once async.

Never decides anything about a run: the loop does. Sync tools of a sync run are called in order in the caller's thread,
so that they need not be safe among threads; async tools of a batch run at the same time, and so do all in an async run.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from agent_core.event_loop import async_tools
from agent_core.events import RunEvent
from agent_core.heard import Heard
from agent_core.inline import InlineTools
from agent_core.loop import RunLoop
from agent_core.models.base import Model
from agent_core.requests import AskCancelled, CallModel, CallTools, ReadHistory, Save
from agent_core.run import RunSnapshot
from agent_core.store import RunStore
from agent_core.tools.execution import CallResult, ToolExecution

Result = TypeVar("Result")


class Journal(Protocol):
    """Where a driver writes a run down as it goes on."""

    def save(
        self, snapshot: RunSnapshot, dispatch: Sequence[ToolExecution] = (), events: Sequence[RunEvent] = ()
    ) -> RunSnapshot:
        """Store the snapshot and hand out `dispatch`, the paused calls; `StaleRunError` if somebody else saved.

        `events` are what this save makes true, for a journal with readers; `Driver` yields them afterwards.
        """

    def history(self, session_id: str, *, limit: int) -> list[RunSnapshot]:
        """Return the last completed runs of the session, oldest first."""

    def is_cancelled(self, run_id: str) -> bool:
        """Return whether the run is to be cancelled."""


@dataclass(frozen=True)
class StoreJournal:
    """The journal of an in-process run: a run store. Nothing is handed out; the caller holds the paused calls."""

    store: RunStore

    def save(
        self, snapshot: RunSnapshot, dispatch: Sequence[ToolExecution] = (), events: Sequence[RunEvent] = ()
    ) -> RunSnapshot:
        return self.store.save(snapshot, expected_version=snapshot.version)

    def history(self, session_id: str, *, limit: int) -> list[RunSnapshot]:
        return self.store.history(session_id, limit=limit)

    def is_cancelled(self, run_id: str) -> bool:
        return self.store.cancel_requested(run_id)


@dataclass(frozen=True, kw_only=True)
class Driver:
    """What it takes to carry out a loop's requests. `blocks` tells whether the journal may take its time."""

    model: Model
    tools: InlineTools
    journal: Journal
    stream: bool = False
    blocks: bool = True

    def drive(self, loop: RunLoop) -> Generator[RunEvent, None, None]:
        """Drive the loop to the next pause or the end; yields the events on the way."""
        steps, answer = loop.run(), None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration:
                return
            answer = None
            match request:
                case CallModel():
                    heard = Heard(call=request, model_id=self.model.id)
                    with closing(self._listen(heard)) as events:
                        for event in events:
                            yield event
                            if heard.is_check_due() and self.journal.is_cancelled(request.run_id):
                                break
                        else:
                            answer = heard.answer()
                case CallTools():
                    yield from self._call_tools(request)
                case Save():
                    answer = self._consult(request)
                    yield from request.events
                case ReadHistory() | AskCancelled():
                    answer = self._consult(request)

    async def adrive(self, loop: RunLoop) -> AsyncGenerator[RunEvent, None]:
        """Do as `drive`, without blocking the event loop."""
        steps, answer = loop.run(), None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration:
                return
            answer = None
            match request:
                case CallModel():
                    heard = Heard(call=request, model_id=self.model.id)
                    async with aclosing(self._alisten(heard)) as events:
                        async for event in events:
                            yield event
                            if heard.is_check_due() and await self.aside(self.journal.is_cancelled, request.run_id):
                                break
                        else:
                            answer = heard.answer()
                case CallTools():
                    async for event in self._acall_tools(request):
                        yield event
                case Save():
                    answer = await self.aside(self._consult, request)
                    for event in request.events:
                        yield event
                case ReadHistory() | AskCancelled():
                    answer = await self.aside(self._consult, request)

    async def aside(self, work: Callable[..., Result], *args: object) -> Result:
        """Call what asks the journal: in a thread, so that it holds up nobody, unless it cannot block."""
        return await asyncio.to_thread(work, *args) if self.blocks else work(*args)

    def _consult(self, request: Save | ReadHistory | AskCancelled) -> Any:
        match request:
            case Save(snapshot, dispatch, events):
                return self.journal.save(snapshot, dispatch, events)
            case ReadHistory(session_id, limit):
                return self.journal.history(session_id, limit=limit)
            case AskCancelled(run_id):
                return self.journal.is_cancelled(run_id)

    def _listen(self, heard: Heard) -> Generator[RunEvent, None, None]:
        call = heard.call
        if call.delay_seconds:
            time.sleep(call.delay_seconds)
        with heard:
            try:
                if not self.stream:
                    yield from heard.take(self.model.reply(call.request))
                    return
                with closing(self.model.stream(call.request)) as parts:
                    for part in parts:
                        yield from heard.take(part)
            except Exception as error:
                heard.fail(error)

    async def _alisten(self, heard: Heard) -> AsyncGenerator[RunEvent, None]:
        call = heard.call
        if call.delay_seconds:
            await asyncio.sleep(call.delay_seconds)
        with heard:
            try:
                if not self.stream:
                    for event in heard.take(await self.model.areply(call.request)):
                        yield event
                    return
                async with aclosing(self.model.astream(call.request)) as parts:
                    async for part in parts:
                        for event in heard.take(part):
                            yield event
            except Exception as error:
                heard.fail(error)

    def _call_tools(self, request: CallTools) -> Iterator[RunEvent]:
        running: dict[str, Future[CallResult]] = {}
        for call in request.calls:
            if self.tools.is_async(call):
                work = self.tools.arun(call, request.contexts[call.tool_call_id])
                running[call.tool_call_id] = async_tools.submit(work)
        for call in request.calls:
            started = running.get(call.tool_call_id)
            result = started.result() if started else self.tools.run(call, request.contexts[call.tool_call_id])
            yield request.on_settled(call, result)

    async def _acall_tools(self, request: CallTools) -> AsyncIterator[RunEvent]:
        calls = {
            asyncio.create_task(self.tools.arun(call, request.contexts[call.tool_call_id])): call
            for call in request.calls
        }
        running = set(calls)
        try:
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in calls if task in done]:
                    yield request.on_settled(calls[task], task.result())
        finally:
            for task in running:
                task.cancel()
