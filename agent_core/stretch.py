"""One stretch of a run in process: from where its snapshot stands to the next pause or the end, for one caller.

Never outlives its caller's interest: a stretch that is given up leaves a cancelled run, not one that runs for ever.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, field

from agent_core.cancelling import cancel_run, give_up
from agent_core.drive import Driver
from agent_core.errors import RunAlreadyContinuedError, StaleRunError
from agent_core.events import RunCancelled, RunContent, RunError, RunEvent, RunPaused
from agent_core.loop import RunLoop
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.spec import AgentSpec
from agent_core.store import RunStore
from agent_core.tools.execution import CallAnswer

Prepare = Callable[[], tuple[RunSnapshot, Mapping[str, CallAnswer]]]

_ALWAYS_TOLD = (RunContent, RunPaused, RunCancelled, RunError)


@dataclass(kw_only=True)
class Stretch:
    """Yields the events, then raises the error that ended the run, if one did. Used once, sync or async.

    `prepare` is called first and tells where the run stands, and with what answers it goes on.
    """

    spec: AgentSpec
    driver: Driver
    store: RunStore
    prepare: Prepare
    loop: RunLoop = field(init=False)
    events: list[RunEvent] = field(default_factory=list)

    def run(self) -> Generator[RunEvent, None, None]:
        """Drive the run, blocking."""
        self._stand_on(*self.prepare())
        try:
            with closing(self.driver.drive(self.loop)) as events:
                for event in events:
                    self._note(event)
                    yield event
        except StaleRunError as error:
            self._lost_race(error)
        except (GeneratorExit, KeyboardInterrupt):
            self._abandon()
            raise
        self._conclude()

    async def arun(self) -> AsyncGenerator[RunEvent, None]:
        """Drive the run."""
        self._stand_on(*await self.driver.aside(self.prepare))
        try:
            async with aclosing(self.driver.adrive(self.loop)) as events:
                async for event in events:
                    self._note(event)
                    yield event
        except StaleRunError as error:
            self._lost_race(error)
        except (GeneratorExit, KeyboardInterrupt, asyncio.CancelledError):
            self._abandon()
            raise
        await self.driver.aside(self._conclude)

    def finish(self) -> RunOutput:
        """Drive the run and return what has come of it."""
        for _ in self.run():
            pass
        return self.output

    async def afinish(self) -> RunOutput:
        """Drive the run and return what has come of it."""
        async for _ in self.arun():
            pass
        return self.output

    def tell(self, *, all_events: bool, output: bool) -> Generator[RunEvent | RunOutput, None, None]:
        """Drive the run and yield what a streaming caller wants: text, pauses, bad ends; the rest on demand."""
        with closing(self.run()) as events:
            for event in events:
                if all_events or isinstance(event, _ALWAYS_TOLD):
                    yield event
        if output:
            yield self.output

    async def atell(self, *, all_events: bool, output: bool) -> AsyncGenerator[RunEvent | RunOutput, None]:
        """Do as `tell`."""
        async with aclosing(self.arun()) as events:
            async for event in events:
                if all_events or isinstance(event, _ALWAYS_TOLD):
                    yield event
        if output:
            yield self.output

    @property
    def output(self) -> RunOutput:
        """What has come of the run so far, with the events of this stretch."""
        self.loop.output.events = self.events
        return self.loop.output

    def _stand_on(self, snapshot: RunSnapshot, answers: Mapping[str, CallAnswer]) -> None:
        self.loop = RunLoop(self.spec, snapshot, answers=answers)

    def _note(self, event: RunEvent) -> None:
        if not isinstance(event, RunContent):
            self.events.append(event)

    def _lost_race(self, error: StaleRunError) -> None:
        """Before the first event nothing but the claim was saved: somebody else continued the run first."""
        if self.events or self.loop.snapshot.version == 0:
            raise error
        raise RunAlreadyContinuedError(
            f"Run {self.loop.snapshot.run_id!r} was continued by somebody else at the same time; they have it now."
        ) from error

    def _abandon(self) -> None:
        if self.loop.output.status is RunStatus.RUNNING:
            give_up(self.store, self.loop.snapshot.run_id)

    def _conclude(self) -> None:
        """Raise the model's error, if it ended the run; cancel a run that was to be cancelled just as it paused."""
        snapshot = self.loop.snapshot
        if snapshot.output.is_paused and self.store.cancel_requested(snapshot.run_id):
            cancel_run(self.store, snapshot.run_id)
            self.loop.snapshot = self.store.load(snapshot.run_id) or snapshot
        last = self.events[-1] if self.events else None
        if isinstance(last, RunError) and last.cause is not None:
            raise last.cause
