"""How an event lies in a stream, and how it is read again; knows neither keys nor who reads.

What a reader knows of the run anyway, or is told by the entry's id, is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Protocol

from pydantic_core import from_json

from agent_core.errors import ErrandryError
from agent_core.events import RunEvent, ToolCallExecuting, ToolCallOutput, ToolCallSettled, event_from_dict

FIELD = "event"
"""The one field of an entry."""

_KNOWN = {"run_id", "agent_name", "session_id", "created_at", "tools"}


class OfRun(Protocol):
    """What a reader of events knows of their run: the run itself, or another of its events, will do."""

    @property
    def run_id(self) -> str: ...
    @property
    def agent_name(self) -> str: ...
    @property
    def session_id(self) -> str | None: ...


def stored_event(event: RunEvent) -> str:
    """The event as it is written. The calls of a pause were told when they started; see `KnownCalls`."""
    return event.model_dump_json(exclude_defaults=True, exclude_none=True, exclude=_KNOWN)


def read_event(run: OfRun, entry_id: str, stored: str) -> RunEvent:
    """The event again; AgentError for one that only a newer release knows."""
    return _event(run, entry_id, json.loads(stored))


def _event(run: OfRun, entry_id: str, told: Mapping[str, object]) -> RunEvent:
    at = datetime.fromtimestamp(order_of(entry_id)[0] / 1000, UTC)
    known = {"run_id": run.run_id, "agent_name": run.agent_name, "session_id": run.session_id, "created_at": at}
    return event_from_dict({**told, **known})


def read_pool_event(run: OfRun, entry_id: str, stored: str | None) -> RunEvent | None:
    """What a pool told; None for what it may not tell or what cannot be read, since a pool can write anything there.

    It speaks of single calls only, and names them by their id: the run's own start, pause and end are not its to tell,
    nor is what a person did.
    """
    try:
        # Half a character and numbers without end are none that JSON has, so nobody could be told of them.
        event = _event(run, entry_id, from_json(stored or ""))
    except (ErrandryError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    if any(isinstance(value, float) and not isfinite(value) for _, value in event):
        return None
    if not isinstance(event, ToolCallExecuting | ToolCallOutput | ToolCallSettled):
        return None
    unsigned = {"answered_by": None, "answered_at": None} if isinstance(event, ToolCallSettled) else {}
    content = event.content if isinstance(event.content, str) else None
    return event.model_copy(update={"tools": None, "content": content, **unsigned})


def order_of(entry_id: str) -> tuple[int, int]:
    """What the entries of several streams are merged by: the server's clock, then the number within its millisecond."""
    at_ms, _, number = entry_id.partition("-")
    return int(at_ms), int(number)
