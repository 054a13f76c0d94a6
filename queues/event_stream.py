"""Follows what happens in a run, from any point on, blocking in Redis; never polls and writes nothing.

The trusted side writes one stream per run. A pool's workers may not write there, so they write one of their own per
run; the reader merges both by the ids that the server gave. An event id names a place in all of them at once.

A reader holds one connection while it waits and nothing else on the server, so one that is slow holds up nobody. What
it reads stands there until the run's retention is over, however far behind it is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator

import redis
import redis.asyncio

from agent_core.events import RunEvent
from queues.carrying import Clock, acarry_out, carry_out, is_over
from queues.event_places import InvalidEventIdError
from queues.event_reading import Followed, KnownCalls, is_final, reading

__all__ = [
    "InvalidEventIdError",
    "afollow",
    "awith_calls",
    "follow",
    "is_final",
    "with_calls",
]


def follow(
    connection: redis.Redis,
    run: Followed,
    *,
    after: str | None = None,
    deadline: float | None = None,
    clock: Clock = time.monotonic,
) -> Iterator[RunEvent]:
    """The events of a run after the given id, until its end or the deadline (on `clock`); each bears its `event_id`.

    Without gap and without repeat, wherever it begins again. A server that is away is waited for, up to the deadline
    or a quarter of an hour; then its error is raised. Where the deadline has passed already, the events are those that
    were told by now, and nothing is waited for. An end that a retry has undone is an event like any other. After
    a `RunContinued` that says `voids_text` the text told of that step so far is void: it is told anew.
    InvalidEventIdError, at the first step, for an `after` that is no event id. `connection` is one of `connect`.
    """
    steps, reply = reading(run, after=after, waits=deadline is None or clock() < deadline), None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            return
        reply = None
        if isinstance(step, RunEvent):
            yield step
        elif is_over(step, deadline, clock):
            return
        else:
            reply = carry_out(connection, step, deadline, clock)


async def afollow(
    connection: redis.asyncio.Redis,
    run: Followed,
    *,
    after: str | None = None,
    deadline: float | None = None,
    clock: Clock = time.monotonic,
) -> AsyncGenerator[RunEvent, None]:
    """Do as `follow`; `connection` has the settings of one of `connect` (text, RESP2, a socket time-out above 4 s).

    Whoever stops early closes the generator (`contextlib.aclosing`), which gives the connection back at once.
    """
    steps, reply = reading(run, after=after, waits=deadline is None or clock() < deadline), None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            return
        reply = None
        if isinstance(step, RunEvent):
            yield step
        elif is_over(step, deadline, clock):
            return
        else:
            reply = await acarry_out(connection, step, deadline, clock)


def with_calls(
    connection: redis.Redis,
    run_id: str,
    events: Iterable[RunEvent],
    *,
    from_beginning: bool,
    deadline: float | None = None,
    clock: Clock = time.monotonic,
) -> Iterator[RunEvent]:
    """The events of `follow`, those of a pause with the calls of the run as they stood then.

    `from_beginning` says that the first event of all is the run's first.
    """
    known = KnownCalls(run_id, from_beginning=from_beginning)
    for event in events:
        steps, reply = known.take_in(event), None
        while True:
            try:
                reply = carry_out(connection, steps.send(reply), deadline, clock)
            except StopIteration:
                break
        yield event


async def awith_calls(
    connection: redis.asyncio.Redis,
    run_id: str,
    events: AsyncIterable[RunEvent],
    *,
    from_beginning: bool,
    deadline: float | None = None,
    clock: Clock = time.monotonic,
) -> AsyncGenerator[RunEvent, None]:
    """Do as `with_calls`, with the events of `afollow`."""
    known = KnownCalls(run_id, from_beginning=from_beginning)
    async for event in events:
        steps, reply = known.take_in(event), None
        while True:
            try:
                reply = await acarry_out(connection, steps.send(reply), deadline, clock)
            except StopIteration:
                break
        yield event
