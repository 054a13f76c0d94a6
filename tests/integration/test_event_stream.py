"""Following runs on a real server, sync and async: nothing is missed and nothing comes twice, whatever happens."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Protocol

import pytest
import redis
import redis.asyncio

from agent_core.events import RunContent, RunEvent
from agent_core.run import RunOutput, RunSnapshot
from queues import keys
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.event_stream import (
    InvalidEventIdError,
    afollow,
    awith_calls,
    follow,
    with_calls,
)
from queues.stored_events import stored_event
from tests.support.blocked import blocked
from tests.support.waiting import wait_until
from workers.bench.pausing import Pausing

pytestmark = pytest.mark.redis

BOUND = 60.0
READER = "reader-of-events"
RUN = RunSnapshot.create(agent_name="ops", input="hello", run_id="run_1").output
COMMON: dict[str, Any] = {"run_id": "run_1", "agent_name": "ops"}
EVENTS, SHELL = keys.events("run_1"), keys.part_events("shell", "run_1")
STARTED = (
    '{"event": "ToolCallStarted", "tool": {"tool_call_id": "c", "tool_name": "t", "pool": "shell",'
    ' "external_execution_required": true}}'
)
SETTLED = '{"event": "ToolCallSettled", "tool_call_id": "c", "tool_name": "t", "outcome": "succeeded", "content": "%d"}'
DONE = '{"event": "RunCompleted", "content": "done"}'


class Reading(Protocol):
    """One way to read: events into `hear`, until the end or an error."""

    def __call__(
        self, url: str, run: RunOutput, hear: Callable[[RunEvent], object], *, after: str | None, seconds: float
    ) -> None: ...


def read_sync(
    url: str, run: RunOutput, hear: Callable[[RunEvent], object], *, after: str | None, seconds: float
) -> None:
    with connect(url, client_name=READER) as connection:
        told = follow(connection, run, after=after, deadline=time.monotonic() + seconds)
        for event in with_calls(connection, run.run_id, told, from_beginning=after is None):
            hear(event)


def aconnect(url: str) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(url, decode_responses=True, protocol=2, socket_timeout=10, client_name=READER)


def read_async(
    url: str, run: RunOutput, hear: Callable[[RunEvent], object], *, after: str | None, seconds: float
) -> None:
    async def read() -> None:
        async with aconnect(url) as connection:
            told = afollow(connection, run, after=after, deadline=time.monotonic() + seconds)
            async for event in awith_calls(connection, run.run_id, told, from_beginning=after is None):
                hear(event)

    asyncio.run(read())


@pytest.fixture(params=[read_sync, read_async], ids=["sync", "async"])
def reading(request: pytest.FixtureRequest) -> Reading:
    way: Reading = request.param
    return way


def all_of(reading: Reading, url: str, *, after: str | None = None, run: RunOutput = RUN) -> list[RunEvent]:
    told: list[RunEvent] = []
    reading(url, run, told.append, after=after, seconds=BOUND)
    return told


class Live:
    """A reader in a thread of its own; `next` is what it hears."""

    def __init__(self, reading: Reading, url: str) -> None:
        self._heard: queue.SimpleQueue[RunEvent | Exception | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(reading, url), daemon=True)
        self._thread.start()

    def next(self) -> RunEvent | None:
        """The next event; None at the end."""
        heard = self._heard.get(timeout=BOUND)
        if isinstance(heard, Exception):
            raise heard
        return heard

    def _read(self, reading: Reading, url: str) -> None:
        try:
            reading(url, RUN, self._heard.put, after=None, seconds=BOUND)
            self._heard.put(None)
        except Exception as error:
            self._heard.put(error)


def tell(connection: redis.Redis, text: str) -> None:
    connection.xadd(EVENTS, {"event": stored_event(RunContent(**COMMON, content=text))})


def complete(connection: redis.Redis) -> None:
    connection.hset(keys.run("run_1"), "status", "COMPLETED")
    connection.xadd(EVENTS, {"event": DONE})


def blocked_readers(connection: redis.Redis) -> int:
    """How many readers wait in Redis; others may wait there since an earlier test."""
    return len(blocked(connection, name=READER))


def told_by_all(connection: redis.Redis, number: int) -> list[object]:
    """Texts of a run and of a pool, turn about; what a reader is to hear of them, in this order."""
    connection.xadd(EVENTS, {"event": STARTED})
    said: list[object] = [None]
    for place in range(number):
        connection.xadd(SHELL if place % 3 == 0 else EVENTS, {"event": SETTLED % place})
        said.append(str(place))
    complete(connection)
    return [*said, "done"]


def must_be_in_order(events: list[RunEvent], said: list[object]) -> None:
    """Within a millisecond the server orders the entries of one stream only."""
    assert sorted(map(str, (event.content for event in events))) == sorted(map(str, said))
    times = [event.created_at for event in events]
    assert times == sorted(times)
    for pool in (True, False):
        places = [int(str(event.content)) for event in events if str(event.content).isdigit()]
        ours = [place for place in places if (place % 3 == 0) is pool]
        assert ours == sorted(ours)


def test_more_than_one_batch_of_several_streams_is_read_whole_and_in_order(
    reading: Reading, redis_url: str, redis_connection: redis.Redis
) -> None:
    said = told_by_all(redis_connection, 2500)
    must_be_in_order(all_of(reading, redis_url), said)


def test_reading_goes_on_after_any_event(reading: Reading, redis_url: str, redis_connection: redis.Redis) -> None:
    told_by_all(redis_connection, 120)
    whole = all_of(reading, redis_url)
    for place in range(0, len(whole) - 1, 7):
        rest = all_of(reading, redis_url, after=whole[place].event_id)
        assert [event.event_id for event in rest] == [event.event_id for event in whole[place + 1 :]]
        assert rest == whole[place + 1 :]


def test_a_pause_is_told_with_its_calls_wherever_reading_begins(
    reading: Reading, redis_url: str, redis_connection: redis.Redis
) -> None:
    pausing = Pausing(redis_connection)
    run_id = pausing.pause_one(pool=None)
    run = pausing.runs.load(run_id).snapshot.output
    ids: list[str | None] = [None]
    for place in range(3):
        event = [*_some(reading, redis_url, run, after=ids[-1], number=3 - place)]
        assert event[-1].is_paused and [call.tool_name for call in event[-1].tools or ()] == ["ask_colleague"]
        ids.append(event[0].event_id)


class _EnoughError(Exception):
    """The reader has heard what it wanted."""


def _some(reading: Reading, url: str, run: RunOutput, *, after: str | None, number: int) -> list[RunEvent]:
    told: list[RunEvent] = []

    def hear(event: RunEvent) -> None:
        told.append(event)
        if len(told) == number:
            raise _EnoughError

    with pytest.raises(_EnoughError):
        reading(url, run, hear, after=after, seconds=BOUND)
    return told


@pytest.mark.slow
def test_a_reader_goes_on_by_itself_after_the_server_was_killed(
    reading: Reading, embedded_server: EmbeddedServer, redis_url: str, redis_connection: redis.Redis
) -> None:
    live = Live(reading, redis_url)
    tell(redis_connection, "before")
    assert getattr(live.next(), "content", None) == "before"
    for outage in range(2):
        wait_until(lambda: blocked_readers(redis_connection) == 1, "the reader waits in Redis", timeout_seconds=BOUND)
        os.kill(embedded_server.pid, signal.SIGKILL)
        wait_until(lambda: not embedded_server.is_alive, "the server is gone")
        # Longer than a single command is tried again.
        away = time.monotonic()
        wait_until(lambda: time.monotonic() > away + 5, "the outage is over")  # noqa: B023 - called at once
        assert embedded_server.revive()
        tell(redis_connection, f"after {outage}")
        assert getattr(live.next(), "content", None) == f"after {outage}"
    complete(redis_connection)
    assert getattr(live.next(), "event", None) == "RunCompleted"
    assert live.next() is None


def test_a_server_that_stays_away_is_an_error_at_the_deadline(reading: Reading) -> None:
    began = time.monotonic()
    with pytest.raises(redis.exceptions.ConnectionError):
        reading("redis://127.0.0.1:1/0", RUN, print, after=None, seconds=0.3)
    assert time.monotonic() - began < BOUND


def test_a_refused_password_is_an_error_at_once(reading: Reading, redis_url: str) -> None:
    wrong = redis_url.replace(redis_url.rpartition("@")[0], "redis://errandry-admin:wrong")
    with pytest.raises(redis.exceptions.AuthenticationError):
        reading(wrong, RUN, print, after=None, seconds=BOUND)


def test_what_is_no_event_id_is_an_error(reading: Reading, redis_url: str) -> None:
    with pytest.raises(InvalidEventIdError):
        reading(redis_url, RUN, print, after="yesterday", seconds=BOUND)


def test_reading_ends_at_the_deadline(reading: Reading, redis_url: str, redis_connection: redis.Redis) -> None:
    tell(redis_connection, "a")
    told: list[RunEvent] = []
    reading(redis_url, RUN, told.append, after=None, seconds=0.2)
    assert [event.content for event in told] == ["a"]


def test_a_reader_that_takes_its_time_holds_nobody_up(redis_url: str, redis_connection: redis.Redis) -> None:
    """It stops in the middle; others read and write on, and it finds everything later."""
    for place in range(700):
        tell(redis_connection, str(place))
    with connect(redis_url, client_name=READER) as connection:
        slow = follow(connection, RUN)
        first = [next(slow).content for _ in range(3)]
        assert blocked_readers(redis_connection) == 0
        for place in range(700, 1400):
            tell(redis_connection, str(place))
        complete(redis_connection)
        expected = [*map(str, range(1400)), "done"]
        assert [event.content for event in all_of(read_sync, redis_url)] == expected
        assert first + [event.content for event in slow] == expected


def test_many_async_readers_share_one_loop(redis_url: str, redis_connection: redis.Redis) -> None:
    readers = 50

    async def read() -> list[list[object]]:
        async with aconnect(redis_url) as connection:

            async def one() -> list[object]:
                return [event.content async for event in afollow(connection, RUN, deadline=time.monotonic() + BOUND)]

            reading = [asyncio.create_task(one()) for _ in range(readers)]
            # Told from another thread: the loop has to stay free for that not to matter.
            await asyncio.to_thread(
                wait_until, lambda: blocked_readers(redis_connection) == readers, "all wait", timeout_seconds=BOUND
            )
            await asyncio.to_thread(tell, redis_connection, "a")
            await asyncio.to_thread(complete, redis_connection)
            return await asyncio.gather(*reading)

    assert asyncio.run(read()) == [["a", "done"]] * readers


def test_an_async_reader_that_is_cancelled_leaves_its_connection_fit_for_use(
    redis_url: str, redis_connection: redis.Redis
) -> None:
    async def read() -> object:
        async with aconnect(redis_url) as connection:

            async def wait() -> None:
                async with aclosing(afollow(connection, RUN)) as events:
                    await anext(events)

            for _ in range(3):
                waiting = asyncio.create_task(wait())
                await asyncio.to_thread(
                    wait_until, lambda: blocked_readers(redis_connection) == 1, "it waits", timeout_seconds=BOUND
                )
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await asyncio.to_thread(
                wait_until, lambda: blocked_readers(redis_connection) == 0, "nobody waits", timeout_seconds=BOUND
            )
            return await connection.echo("fit")

    assert asyncio.run(read()) == "fit"
