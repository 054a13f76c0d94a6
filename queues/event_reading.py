"""The reading of a run's events, as generators that ask for what they need and are sent the replies.

Never does I/O and has no clock: `queues.event_stream` carries the requests out, sync and async alike.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from agent_core.events import (
    RunCancelled,
    RunCompleted,
    RunError,
    RunEvent,
    RunPaused,
    ToolCallCompleted,
    ToolCallError,
    ToolCallStarted,
)
from agent_core.run import RunStatus
from agent_core.tools.execution import ToolExecution
from queues import keys
from queues.event_places import BEGINNING, Place, own_place
from queues.replies import Entry
from queues.requests import SPOILT, Lookup, NextEntries, Request
from queues.stored_events import FIELD, OfRun, order_of, read_event, read_pool_event

_MOST_ENTRIES = 500
_FIRST_ENTRIES = 20
# Of a batch of one stream, as far as can be foreseen: one process may hold one for each of hundreds of slow readers.
_MOST_BYTES = 128 * 1024
FINAL = (RunCompleted, RunCancelled, RunError)
"""The events with which a run ends; a retry may undo such an end."""

Steps: TypeAlias = Generator[Request | RunEvent, Any, None]


class Followed(OfRun, Protocol):
    """A run whose events are read."""

    @property
    def status(self) -> RunStatus:
        """Where it stood before the reading began, or later."""


def is_final(event: RunEvent) -> bool:
    """Whether the run ended with this event; a retry may undo that end."""
    return isinstance(event, FINAL)


def reading(run: Followed, *, after: str | None, waits: bool = True) -> Steps:
    """Yield requests and, as they become known, the events after an event id, in order, up to the run's last end.

    Without `waits` only up to what has been told by now.
    Each event bears its `event_id`; whoever begins again there misses none and sees none twice. A batch is as much as
    is ever held here, so a consumer may take its time.
    """
    place, batch = Place(run.run_id, after), _BatchSize()
    # Whoever has seen the end already would wait for ever.
    if after is not None and run.status.is_finished and not (yield from _goes_on(run.run_id, own_place(after))):
        return
    while True:
        limit = batch.limit
        told = yield NextEntries(place.streams, limit, waits)
        if told is SPOILT:
            yield from _leave_what_is_spoilt(place)
            continue
        reply: Sequence[tuple[str, Sequence[Entry]]] = told or ()
        if not (reply or waits):
            return
        batch.learn(reply)
        for stream, entry_id, fields in _in_order(reply, limit, place):
            place.advance(stream, entry_id)
            if place.is_own(stream):
                event: RunEvent | None = read_event(run, entry_id, fields[FIELD])
            else:
                event = read_pool_event(run, entry_id, fields.get(FIELD))
            if event is None:
                continue
            met = place.meet(event.tool.pool if isinstance(event, ToolCallStarted) else None)
            event.event_id = str(place)
            yield event
            if is_final(event) and not (yield from _goes_on(run.run_id, entry_id)):
                return
            if met:
                # What this pool told may belong before the rest of the batch: read again, both together.
                break


def _leave_what_is_spoilt(place: Place) -> Steps:
    """Go on without the pools that have put something else in the place of their stream: what they tell is lost."""
    for stream in place.streams:
        # Of the run's own stream that would be a fault of ours.
        if (yield Lookup(("XLEN", stream), bears_junk=not place.is_own(stream))) is SPOILT:
            place.leave(stream)


def _in_order(
    reply: Sequence[tuple[str, Sequence[Entry]]], limit: int, place: Place
) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """The entries of several streams in the order in which they were written.

    The numbers within a millisecond count for one stream only: then pools come first, so that the run's end comes last.
    A full batch ends somewhere in its stream. What others wrote after that end is left for the next batch, because the
    stream may hold something older.
    """

    def order(stream: str, entry_id: str) -> tuple[int, bool, int]:
        at_ms, number = order_of(entry_id)
        return at_ms, place.is_own(stream), number

    end = min((order(stream, entries[-1][0]) for stream, entries in reply if len(entries) >= limit), default=None)
    found = [(order(stream, entry[0]), stream, entry) for stream, entries in reply for entry in entries]
    found.sort(key=lambda each: each[0])
    for written, stream, (entry_id, fields) in found:
        if end is None or written <= end:
            yield stream, entry_id, fields


class _BatchSize:
    """How many entries to ask for: as many as fit into the memory of one batch if they are as large as those before."""

    def __init__(self) -> None:
        self.limit = _FIRST_ENTRIES

    def learn(self, reply: Sequence[tuple[str, Sequence[Entry]]]) -> None:
        sizes = [len(text) for _, entries in reply for _, fields in entries for text in fields.values()]
        if sizes:
            self.limit = max(1, min(_MOST_ENTRIES, 2 * self.limit, _MOST_BYTES // max(1, *sizes)))


def _goes_on(run_id: str, seen_id: str) -> Generator[Request, Any, bool]:
    """Whether there is more to tell after an entry of the run's own: if it is an end, the run was retried then."""
    (status,) = yield Lookup(("HMGET", keys.run(run_id), "status"))
    if status is None:
        return False
    if not RunStatus(status).is_finished:
        return True
    # The end is the last thing that is told of a run, so anything newer belongs to another try.
    newest: Sequence[Entry] = yield Lookup(("XREVRANGE", keys.events(run_id), "+", "-", "COUNT", 1))
    return bool(newest) and order_of(newest[0][0]) > order_of(seen_id)


class KnownCalls:
    """The calls of a run as its events tell them: a pause is stored without its calls, and gets them back here.

    `from_beginning` says that all events since the first are taken in; else those before a pause are read for it.
    """

    def __init__(self, run_id: str, *, from_beginning: bool) -> None:
        self._run_id = run_id
        self._complete = from_beginning
        self._calls: dict[tuple[int, str], ToolExecution] = {}

    def take_in(self, event: RunEvent) -> Generator[Request, Any, None]:
        """Note what the event tells; give a pause the calls of the run as they stood then."""
        self._note(event)
        if isinstance(event, RunPaused) and event.tools is None:
            if not self._complete:
                yield from self._read_until(event)
                self._complete = True
            event.tools = [call.model_copy(deep=True) for call in self._calls.values()]

    def _read_until(self, pause: RunEvent) -> Generator[Request, Any, None]:
        last, batch, after = order_of(own_place(pause.event_id)), _BatchSize(), BEGINNING
        self._calls.clear()
        while order_of(after) < last:
            stream = keys.events(self._run_id)
            entries: Sequence[Entry] = yield Lookup(("XRANGE", stream, f"({after}", "+", "COUNT", batch.limit))
            if not entries:
                return
            batch.learn([(stream, entries)])
            for entry_id, fields in entries:
                after = entry_id
                if order_of(after) <= last:
                    self._note(read_event(pause, entry_id, fields[FIELD]))

    def _note(self, event: RunEvent) -> None:
        if isinstance(event, ToolCallStarted | ToolCallCompleted | ToolCallError):
            self._calls[event.tool.step, event.tool.tool_call_id] = event.tool
