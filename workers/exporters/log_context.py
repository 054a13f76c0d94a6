"""Which run and which call a line of the log belongs to; kept beside the work, never decided here.

A context variable, so it goes along into threads and coroutines that the work itself starts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_IDS: ContextVar[dict[str, object] | None] = ContextVar("errandry_log_ids", default=None)

# Celery's own lines about a task come when our part of it is over, and name it by the id of its message.
_NAMES_IN_MESSAGE_ID = ("run_id", "step", "tool_call_id")


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Have each line that is written within the block bear these, besides what is bound already."""
    token = _IDS.set({**current(), **ids})
    try:
        yield
    finally:
        _IDS.reset(token)


def bind(**ids: object) -> None:
    """Add to what the innermost `bound` block binds; it goes with that block. Outside of any, nothing happens."""
    here = _IDS.get()
    if here is not None:
        here.update(ids)


def current() -> Mapping[str, object]:
    """What is bound here."""
    return _IDS.get() or {}


def follow_inline_calls(event: str, fields: Mapping[str, object]) -> None:
    """A listener of telemetry: lines of an inline tool bear its call."""
    if event == "inline.begun":
        _IDS.set({**current(), "tool_call_id": fields["tool_call_id"], "tool_name": fields["tool_name"]})
    elif event == "inline.executed":
        _IDS.set({name: value for name, value in current().items() if name not in ("tool_call_id", "tool_name")})


def attach_ids(record: logging.LogRecord) -> bool:
    """A filter for handlers: the record bears what is bound, in the thread that wrote it. Lets everything pass."""
    record.ids = current() or _of_a_task(record)
    return True


def _of_a_task(record: logging.LogRecord) -> Mapping[str, object]:
    task = getattr(record, "data", None)
    if not record.name.startswith("celery.") or not isinstance(task, dict):
        return {}
    parts = str(task.get("id", "")).split(":", len(_NAMES_IN_MESSAGE_ID) - 1)
    return dict(zip(_NAMES_IN_MESSAGE_ID, parts, strict=False))
