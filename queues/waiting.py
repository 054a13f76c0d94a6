"""What is waited for, as generators that ask Redis and are sent the replies: the end of a run, the answer to a call.

Never does I/O and has no clock: `queues.carrying` carries the requests out, sync and async alike, and throws a
TimeoutError in here when the time is up.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import get_args

from pydantic_core import from_json

from agent_core.events import RunPaused
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallResult
from queues import keys
from queues.errors import WaitTimeoutError
from queues.event_places import BEGINNING
from queues.event_reading import FINAL
from queues.lone_calls import LoneCall, read_answer
from queues.looking import whole
from queues.replies import Entry
from queues.requests import Asking, Lookup, NextEntries
from queues.run_handle import Until
from queues.stored_events import FIELD
from queues.stored_runs import FIELDS

_ENTRIES = 20
_EVENTS = 100
_ENDS = frozenset(kind.__name__ for kind in FINAL)
_ENDS_AND_PAUSES = _ENDS | {RunPaused.__name__}
_LOOKED_AT = ("waiting", *FIELDS)
_NEVER_SAVED = "1"  # the version of a run that was created, and perhaps begun


def awaited(run_id: str, *, until: Until, timeout: float | None) -> Asking[RunOutput]:
    """Return the run once it has ended or, with `until="paused"`, waits for a person.

    A server that is not there at first is told of at once, one that goes away later is waited for. RunNotFoundError;
    WaitTimeoutError, which names the `timeout`, when the time is up.
    """
    if until not in get_args(Until):
        raise ValueError(f"until is {until!r}; choose one of {', '.join(get_args(Until))}")
    names = _ENDS if until == "finished" else _ENDS_AND_PAUSES
    look = Lookup(("HMGET", keys.run(run_id), *_LOOKED_AT))
    found: Sequence[str | None] = yield replace(look, at_once=True)
    after, is_late = None, False
    if _of(found, "version") == _NEVER_SAVED:
        # Hardly anything has been told, so it may as well be read; else the stream may hold a long conversation.
        after = BEGINNING
    while not (yield from _is_over(found, until)):
        if is_late:
            raise WaitTimeoutError(f"run {run_id} is still {_of(found, 'status')} after {timeout:g} s")
        try:
            after = yield from (_newest(run_id) if after is None else _next_told(run_id, names, after=after))
        except TimeoutError:
            is_late = True
        # What is told after this look stands behind the place that was read up to, so nothing is missed.
        found = yield look
    _, *stored = found
    return (yield from whole(run_id, stored)).snapshot.output


def answered(call: LoneCall) -> Asking[CallResult | None]:
    """Return the call's answer as soon as its pool has given it; None when the time is up."""
    part, stream, after = call.address.part, call.address.events, BEGINNING
    while True:
        # What the call's worker tells says only that it is time to look: the answer stands in the part.
        state, answer = yield Lookup(("HMGET", part, *call.fields))
        result = read_answer(state, answer)
        if result is not None:
            return result
        try:
            told: Sequence[tuple[str, Sequence[Entry]]] | None = yield NextEntries({stream: after}, _ENTRIES)
        except TimeoutError:
            return None
        for _, entries in told or ():
            after = entries[-1][0]


def _is_over(found: Sequence[str | None], until: Until) -> Asking[bool]:
    """Return whether there is nothing to wait for (any more)."""
    status = _of(found, "status")
    if status is None or RunStatus(status).is_finished:
        return True
    return until == "paused" and status == RunStatus.PAUSED and (yield from _waits_for_people(_of(found, "waiting")))


def _of(found: Sequence[str | None], name: str) -> str | None:
    return found[_LOOKED_AT.index(name)]


def _newest(run_id: str) -> Asking[str]:
    """Return the place of the newest event; all that is told later comes after it."""
    newest: Sequence[Entry] = yield Lookup(("XREVRANGE", keys.events(run_id), "+", "-", "COUNT", 1))
    return newest[0][0] if newest else BEGINNING


def _next_told(run_id: str, names: Collection[str], *, after: str) -> Asking[str]:
    """Return once an event of one of these names was told, with the place up to which all was read then.

    Nothing but their names is read of events, and nothing of what pools tell.
    """
    stream = keys.events(run_id)
    while True:
        told: Sequence[tuple[str, Sequence[Entry]]] | None = yield NextEntries({stream: after}, _EVENTS)
        for _, entries in told or ():
            after = entries[-1][0]
            if any(_name(fields[FIELD]) in names for _, fields in entries):
                return after


def _name(stored: str) -> str | None:
    """The name of an event; None for what this release cannot read."""
    try:
        told = from_json(stored)
    except ValueError:
        return None
    name = told.get("event") if isinstance(told, dict) else None
    return name if isinstance(name, str) else None


def _waits_for_people(waiting: str | None) -> Asking[bool]:
    """Return whether a person is still to answer a call of this waiting list, or to approve it."""
    for part in json.loads(waiting or "[]"):
        if keys.is_for_people(part["key"]):
            told: Sequence[str | None] = yield Lookup(("HMGET", part["key"], *(f"answer:{id}" for id in part["calls"])))
            if None in told:
                return True
    return False
