"""What is waited for, as generators that ask Redis and are sent the replies: the end of a run, the answer to a call.

Never does I/O and has no clock: `queues.carrying` carries the requests out, sync and async alike, and throws a
TimeoutError in here when the time is up.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from typing import Any, TypeVar, get_args

from agent_core.run import RunOutput
from agent_core.tools.execution import CallResult
from queues import keys
from queues.errors import WaitTimeoutError
from queues.event_places import BEGINNING
from queues.event_reading import Lookup, NextEntries, Request, is_final
from queues.lone_calls import LoneCall, read_answer
from queues.replies import Entry
from queues.run_handle import Until
from queues.stored_events import FIELD, read_event
from queues.stored_runs import FIELDS, StoredRun, log_fields, read_run

T = TypeVar("T")
Waits = Generator[Request, Any, T]

_ENTRIES = 20


def awaited(run_id: str, *, until: Until, timeout: float | None) -> Waits[RunOutput]:
    """Return the run once it has ended or, with `until="paused"`, waits for a person.

    WaitTimeoutError, which names the `timeout`, when the time is up.
    """
    if until not in get_args(Until):
        raise ValueError(f"until is {until!r}; choose one of {', '.join(get_args(Until))}")
    while True:
        # The place is taken before the look, so that what happens in between is not missed.
        newest: Sequence[Entry] = yield Lookup(("XREVRANGE", keys.events(run_id), "+", "-", "COUNT", 1))
        waiting, *found = yield Lookup(("HMGET", keys.run(run_id), "waiting", *FIELDS))
        output = (yield from _stored(run_id, found)).snapshot.output
        if output.status.is_finished:
            return output
        if until == "paused" and output.is_paused and (yield from _waits_for_people(waiting)):
            return output
        try:
            yield from _turn(output, after=newest[0][0] if newest else None)
        except TimeoutError:
            raise WaitTimeoutError(f"run {run_id} is still {output.status.value} after {timeout:g} s") from None


def answered(call: LoneCall) -> Waits[CallResult | None]:
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


def _stored(run_id: str, found: Sequence[str | None]) -> Waits[StoredRun]:
    """Return the run, whose log is asked for where it has one."""
    names = log_fields(found[1])
    log: Sequence[str | None] = (yield Lookup(("HMGET", keys.run(run_id), *names))) if names else ()
    return read_run(run_id, found, log)


def _turn(output: RunOutput, *, after: str | None) -> Waits[None]:
    """Return at the next event with which the run may have ended, or begun to wait; what pools tell is not read."""
    stream, after = keys.events(output.run_id), after or BEGINNING
    while True:
        told: Sequence[tuple[str, Sequence[Entry]]] | None = yield NextEntries({stream: after}, _ENTRIES)
        for _, entries in told or ():
            for entry_id, fields in entries:
                after, event = entry_id, read_event(output, entry_id, fields[FIELD])
                if is_final(event) or event.is_paused:
                    return


def _waits_for_people(waiting: str | None) -> Waits[bool]:
    """Return whether a person is still to answer a call of this waiting list, or to approve it."""
    for part in json.loads(waiting or "[]"):
        if keys.is_for_people(part["key"]):
            told: Sequence[str | None] = yield Lookup(("HMGET", part["key"], *(f"answer:{id}" for id in part["calls"])))
            if None in told:
                return True
    return False
