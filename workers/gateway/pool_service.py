"""What the gateway does for executors: has them wait, hands calls over, hears of them, writes their answers down.

Knows no HTTP. One of these serves all pools of a gateway; what it knows of a call it reads from the store each time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self, TypeVar

from agent_core.tools.execution import CallMetrics, CallOutcome, CallResult
from queues.announcements import Announcement, Announcements
from queues.calls import CallAddress
from queues.connections import aconnect, connect, translated_errors
from queues.executor_calls import LEVEL, ExecutorCalls, Held, LentCall
from queues.pool_messages import CallMessage, PoolMessages, UnfitMessage
from queues.refusals import set_aside
from queues.settings import Settings
from queues.timing import Timing
from workers.exporters.tracing import NO_TRACES, Traces
from workers.gateway.pool_telling import tell_answer_to_nothing, tell_answered, tell_handed_over, tell_refused
from workers.gateway.waiting_room import WaitingRoom
from workers.retrying import retry_after
from workers.sandbox.output import cut_middle

T = TypeVar("T")
LONGEST_WAIT_SECONDS = 60
_KNOWN_SECONDS = LONGEST_WAIT_SECONDS + 30.0
_ANNOUNCED_EACH_SECONDS = 20.0
# Scripts take less than a millisecond each; what waits long never waits in one of these.
_THREADS = 8
_OVERSTAYED = "The executor did not stop within {seconds:g} s, nor settle the call. Whether it took effect is unknown."


@dataclass(frozen=True)
class CallPlace:
    """The call that an executor speaks of."""

    pool: str
    run_id: str
    step: int
    tool_call_id: str


@dataclass(frozen=True)
class Told:
    """What an executor says came of a call, and what it measured, if it did."""

    outcome: CallOutcome
    content: str
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None
    exit_code: int | None = None


class PoolService:
    """The pools that are served over HTTP, as long as the block lasts. StoreUnreachableError while Redis is away."""

    def __init__(self, settings: Settings, url: str, *, traces: Traces = NO_TRACES) -> None:
        self._traces = traces
        self._pools = {name: settings.pools[name] for name in settings.http_pools}
        self._connection = connect(url, client_name="errandry-gateway-pools", max_connections=2 * _THREADS)
        self._blocking = aconnect(url, client_name="errandry-gateway-pools", as_text=False)
        self._calls = ExecutorCalls(self._connection, timing=Timing.of_lease(settings.lease_seconds))
        self._rooms = {
            name: WaitingRoom(PoolMessages(self._blocking, name), refuse=self._refuse) for name in self._pools
        }
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="pools")
        self._announced: dict[tuple[str, str], float] = {}
        self.lease_seconds = settings.lease_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(room.close() for room in self._rooms.values()))
        # In a thread of its own: those that are to end may be in the midst of a last script.
        await asyncio.to_thread(self._threads.shutdown)
        await self._blocking.aclose()
        self._connection.close()

    @property
    def waiting(self) -> int:
        """How many executors wait just now."""
        return sum(len(room) for room in self._rooms.values())

    def timeout_of(self, lent: LentCall) -> float:
        """How long the executor may take for the call."""
        wall_seconds = self._pools[lent.call.address.pool].sandbox.wall_seconds
        return min(wall_seconds, lent.call.request.timeout_seconds or wall_seconds)

    def traceparent_of(self, lent: LentCall) -> str | None:
        """Where spans of the executor's own belong, if its call is traced; asked for once, when it is handed over."""
        return self._traces.lent(lent.call)

    async def claim(self, pool: str, executor: str, *, seconds: float) -> LentCall | None:
        """A call of the pool for this executor, begun; None if none came within the time.

        If this is cancelled, no call is held for the executor afterwards.
        """
        with translated_errors(self._connection):
            await self._announce(pool, executor)
            room, until = self._rooms[pool], time.monotonic() + seconds
            while (message := await room.wait(seconds=max(0.0, until - time.monotonic()))) is not None:
                lent = await self._hand_over(room, message, executor)
                if lent is not None:
                    return lent
        return None

    async def _hand_over(self, room: WaitingRoom, message: CallMessage, executor: str) -> LentCall | None:
        """None for a message whose call is not to be had: a copy of one that somebody has, or that is settled."""
        handing = asyncio.ensure_future(self._in_thread(partial(self._calls.hand_over, message.address, executor)))
        try:
            lent = await asyncio.shield(handing)
        except asyncio.CancelledError:
            lent = await handing
            if isinstance(lent, LentCall):
                await self._in_thread(partial(self._calls.release, lent))
            raise
        if not isinstance(lent, LentCall):
            return None
        refusal = lent.call.refused_by(asks_people=self._pools[message.address.pool].approval)
        if refusal is None:
            tell_handed_over(lent)
            return lent
        tell_refused(lent, refusal, await self._in_thread(partial(self._calls.settle, lent, refusal)))
        return None

    async def heartbeat(self, place: CallPlace, lease: str) -> Held | None:
        """Renew the lease; None if there is no such call (any more).

        Whoever goes on for a whole lease after its time is up has lost the call, which is settled as timed out.
        """

        def renew() -> Held | None:
            lent = self._find(place, lease)
            if lent is None:
                return None
            standing, allowed = self._calls.renew(lent), self.timeout_of(lent)
            if standing == "held" and self._calls.held_seconds(lent) > allowed + self.lease_seconds:
                content = _OVERSTAYED.format(seconds=allowed)
                self._settle(lent, Told(CallOutcome.TIMED_OUT, content))
                return "lost"
            return standing

        with translated_errors(self._connection):
            standing = await self._in_thread(renew)
            if standing == "held":
                await self._announce(place.pool, self._calls.executor_of(lease))
            return standing

    async def settle(self, place: CallPlace, lease: str, told: Told) -> str:
        """Write the answer down; in a word what came of it, as `Calls.settle` says it."""

        def settle() -> str:
            lent = self._find(place, lease)
            if lent is not None:
                return self._settle(lent, told)
            address = CallAddress(place.pool, place.run_id, place.step, place.tool_call_id, tool_name="")
            tell_answer_to_nothing(address, told.outcome)
            return "missing"

        with translated_errors(self._connection):
            return await self._in_thread(settle)

    async def release(self, place: CallPlace, lease: str) -> Literal["released", "cancelled", "lost", "missing"]:
        """Put the call back, for another executor: it was not executed."""

        def release() -> Literal["released", "cancelled", "lost", "missing"]:
            lent = self._find(place, lease)
            return self._calls.release(lent) if lent is not None else "missing"

        with translated_errors(self._connection):
            return await self._in_thread(release)

    def _find(self, place: CallPlace, lease: str) -> LentCall | None:
        return self._calls.find(place.pool, place.run_id, place.step, place.tool_call_id, lease=lease)

    def _settle(self, lent: LentCall, told: Told) -> str:
        call = lent.call
        limit_bytes = self._pools[call.address.pool].sandbox.output_kb * 1024
        content, truncated = cut_middle(told.content, limit_bytes)
        held_seconds = self._calls.held_seconds(lent)
        metrics = CallMetrics(
            pool=call.address.pool,
            worker=self._calls.executor_of(lent.lease),
            attempt=call.attempt,
            queue_wait_seconds=call.queue_wait_seconds,
            wall_seconds=told.wall_seconds if told.wall_seconds is not None else held_seconds,
            cpu_seconds=told.cpu_seconds,
            peak_memory_mb=told.peak_memory_mb,
            exit_code=told.exit_code,
            sandbox_level=LEVEL,
            truncated=truncated,
        )
        result = CallResult(outcome=told.outcome, content=content, metrics=metrics)
        verdict = self._calls.settle(lent, result, retry_after_seconds=retry_after(call, told.outcome))
        tell_answered(lent, result, verdict, held_seconds=held_seconds)
        self._traces.returned(lent, result, verdict)
        return verdict

    async def _announce(self, pool: str, executor: str) -> None:
        """Say that the executor is there, which it need not be told of each time."""
        now = time.monotonic()
        if now - self._announced.get((pool, executor), -_KNOWN_SECONDS) < _ANNOUNCED_EACH_SECONDS:
            return
        self._announced = {who: at for who, at in self._announced.items() if now - at < _ANNOUNCED_EACH_SECONDS}
        self._announced[pool, executor] = now
        known = Announcements(self._connection, pool, valid_seconds=_KNOWN_SECONDS)
        await self._in_thread(partial(known.announce, Announcement(worker=executor, level=LEVEL, concurrency=1)))

    async def _refuse(self, message: UnfitMessage) -> None:
        await self._in_thread(partial(set_aside, self._connection, message.raw, message.place, reason=message.reason))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
