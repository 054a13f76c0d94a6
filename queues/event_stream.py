"""Reads what happens in a run, from any point on, blocking in Redis; never polls and writes nothing.

The trusted side writes one stream per run. A pool's workers may not write there, so they write one of their own per
run; the reader merges both by the ids that the server gave. An event id names a place in all of them at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import redis

from agent_core.errors import ErrandryError
from agent_core.events import (
    RunCancelled,
    RunCompleted,
    RunError,
    RunEvent,
    RunPaused,
    ToolCallCompleted,
    ToolCallError,
    ToolCallStarted,
    event_from_dict,
)
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import ToolExecution
from queues import keys
from queues.replies import entries, entries_after, entries_until, fields, last_entry_id

_BEGINNING = "0-0"
_BLOCK_SECONDS = 4.0  # less than the socket's time-out
_BATCH = 500
_FINAL = (RunCompleted, RunCancelled, RunError)
_FINAL_NAMES = {final.__name__ for final in _FINAL}
_KNOWN = {"run_id", "agent_name", "session_id", "created_at", "tools"}


class InvalidEventIdError(ErrandryError, ValueError):
    """The given event id is none that a stream of a run ever had."""


class Cursor:
    """A place in the streams of one run: the id last read in the run's own and in each pool's."""

    def __init__(self, after: str | None) -> None:
        run_id, *pools = (after or _BEGINNING).split(",")
        self.run = _checked(run_id, after)
        self.pools: dict[str, str] = {}
        for entry in pools:
            pool, _, entry_id = entry.partition("=")
            self.pools[pool] = _checked(entry_id, after)

    def __str__(self) -> str:
        return ",".join([self.run, *(f"{pool}={entry_id}" for pool, entry_id in sorted(self.pools.items()))])

    def streams(self, run_id: str) -> dict[str, str]:
        """What to read, and from where on."""
        return {
            keys.events(run_id): self.run,
            **{keys.part_events(pool, run_id): entry_id for pool, entry_id in self.pools.items()},
        }

    def advance(self, run_id: str, stream: str, entry_id: str) -> None:
        """Remember that an entry was read."""
        if stream == keys.events(run_id):
            self.run = entry_id
            return
        for pool in self.pools:
            if stream == keys.part_events(pool, run_id):
                self.pools[pool] = entry_id


def _checked(entry_id: str, after: str | None) -> str:
    milliseconds, _, sequence = entry_id.partition("-")
    if not (milliseconds.isdigit() and sequence.isdigit()):
        raise InvalidEventIdError(
            f"{after!r} is no event id; pass the `event_id` of an event, or None for the beginning"
        )
    return entry_id


def follow(
    connection: redis.Redis,
    run: RunOutput,
    *,
    after: str | None = None,
    deadline: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[RunEvent]:
    """The events of a run after the given id, until its end or the deadline (on `clock`); each bears its `event_id`.

    An end that a retry has undone is an event like any other.
    """
    cursor = Cursor(after)
    while deadline is None or clock() < deadline:
        block = _BLOCK_SECONDS if deadline is None else max(0.001, min(_BLOCK_SECONDS, deadline - clock()))
        for stream, entry_id, event in _read(connection, run, cursor, block):
            cursor.advance(run.run_id, stream, entry_id)
            new_pool = _pool_to_follow(event, cursor)
            if new_pool is not None:
                cursor.pools[new_pool] = _BEGINNING
            event.event_id = str(cursor)
            yield event
            if is_final(event) and not _goes_on(connection, run.run_id, entry_id):
                return
            if new_pool is not None:
                # What this pool told may belong before the rest of the batch: read again, both together.
                break


def _goes_on(connection: redis.Redis, run_id: str, final_id: str) -> bool:
    """Whether the end that was just read was not the last one: the run was retried afterwards."""
    (status,) = fields(connection, keys.run(run_id), "status")
    if status is None:
        return False
    if not RunStatus(status).is_finished:
        return True
    later = entries_after(connection, keys.events(run_id), final_id, limit=_BATCH)
    return len(later) == _BATCH or any(json.loads(told["event"])["event"] in _FINAL_NAMES for _, told in later)


def stored_event(event: RunEvent) -> str:
    """An event as it lies in a stream: without defaults, and without what its reader knows of the run or is told by
    the entry's id. The calls of a pause were told when they started; see `with_calls`.
    """
    return event.model_dump_json(exclude_defaults=True, exclude_none=True, exclude=_KNOWN)


def with_calls(
    connection: redis.Redis, run_id: str, events: Iterable[RunEvent], *, from_beginning: bool
) -> Iterator[RunEvent]:
    """The events, those of a pause with the calls of the run as they stood then."""
    calls: dict[tuple[int, str], ToolExecution] = {}
    for event in events:
        _note_call(calls, event)
        if isinstance(event, RunPaused) and event.tools is None:
            if not from_beginning:
                calls, from_beginning = _calls_until(connection, run_id, event), True
            event.tools = [call.model_copy(deep=True) for call in calls.values()]
        yield event


def _calls_until(connection: redis.Redis, run_id: str, pause: RunEvent) -> dict[tuple[int, str], ToolExecution]:
    calls: dict[tuple[int, str], ToolExecution] = {}
    last = Cursor(pause.event_id).run
    for entry_id, told in entries_until(connection, keys.events(run_id), last):
        _note_call(calls, _event(pause, entry_id, told["event"]))
    return calls


def _note_call(calls: dict[tuple[int, str], ToolExecution], event: RunEvent) -> None:
    if isinstance(event, ToolCallStarted | ToolCallCompleted | ToolCallError):
        calls[event.tool.step, event.tool.tool_call_id] = event.tool


def is_final(event: RunEvent) -> bool:
    """Whether the run ended with this event; a retry may undo that end."""
    return isinstance(event, _FINAL)


def latest_event_id(connection: redis.Redis, run_id: str) -> str | None:
    """The place after everything that the trusted side has told of the run so far."""
    return last_entry_id(connection, keys.events(run_id))


def _read(
    connection: redis.Redis, run: RunOutput, cursor: Cursor, block_seconds: float
) -> list[tuple[str, str, RunEvent]]:
    streams, block_ms = cursor.streams(run.run_id), round(block_seconds * 1000)
    found = [
        (stream, entry_id, _event(run, entry_id, told["event"]))
        for stream, (entry_id, told) in entries(connection, streams, limit=_BATCH, block_ms=block_ms)
    ]
    return sorted(found, key=lambda entry: _order(entry[1]))


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(int(number) for number in entry_id.split("-"))


def _event(run: RunOutput | RunEvent, entry_id: str, told: str) -> RunEvent:
    """The event, with what is not told because it is the same for each of the run, or not known to a pool's workers."""
    at = datetime.fromtimestamp(_order(entry_id)[0] / 1000, UTC)
    known = {"run_id": run.run_id, "agent_name": run.agent_name, "session_id": run.session_id, "created_at": at}
    return event_from_dict({**known, **json.loads(told)})


def _pool_to_follow(event: RunEvent, cursor: Cursor) -> str | None:
    pool = event.tool.pool if isinstance(event, ToolCallStarted) else None
    return pool if pool is not None and pool not in cursor.pools else None
