"""Telemetry events as lines of the log: at info one for each thing that a person wants to know, at debug the rest.

A line holds names, ids, outcomes and durations, never what a model, a tool or a person said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

Fields = Mapping[str, Any]
_Line = tuple[int, str]

_log = logging.getLogger("errandry")

_MOST_OPEN_CALLS = 10_000
_PLACES = 4


class LogLines:
    """A listener of telemetry. What several events say of one call is told in one line, so it is kept in between."""

    def __init__(self) -> None:
        self._open: dict[object, dict[str, object]] = {}

    def __call__(self, event: str, fields: Fields) -> None:
        """Write the line of an event, if this process tells it. Never raises."""
        try:
            self._note(event, fields)
            if event == "call.settled":
                fields = {**self._open.pop(_call(fields), {}), **fields}
            level, message = _LINES[event](fields) if event in _LINES else (logging.DEBUG, event)
            if _log.isEnabledFor(level):
                told = {name: _rounded(value) for name, value in fields.items() if value is not None}
                _log.log(level, "%s", message, extra={"fields": {"event": event, **told}})
        except Exception:
            # The work goes on, whatever is wrong with a line about it.
            _log.exception("a line about %s could not be written", event)

    def _note(self, event: str, fields: Fields) -> None:
        kept = _KEPT.get(event)
        if kept is None:
            return
        self._open.setdefault(_call(fields), {})[kept] = fields[kept]
        if len(self._open) > _MOST_OPEN_CALLS:
            # Calls whose end is told by another process, or by none.
            del self._open[next(iter(self._open))]


_KEPT = {"call.claimed": "queue_wait_seconds", "call.executed": "wall_seconds"}


def _call(fields: Fields) -> object:
    return fields["run_id"], fields["step"], fields["tool_call_id"]


def _rounded(value: object) -> object:
    return round(value, _PLACES) if isinstance(value, float) else value


def _run_claimed(fields: Fields) -> _Line:
    match fields["found"]:
        case "PENDING":
            what = "begins"
        case "RUNNING":
            what = f"is taken over from a worker that died or left, at step {fields['step']}"
        case "ERROR":
            what = f"is retried from step {fields['step']}"
        case _:
            what = f"goes on at step {fields['step']}"
    return logging.INFO, f"run {fields['run_id']} of {fields['agent']} {what}"


def _run_left(fields: Fields) -> _Line:
    status, age = fields["status"], f"{_seconds(fields['age_seconds'])} after its submit"
    who = f"run {fields['run_id']} of {fields['agent']}"
    if status == "PAUSED":
        return logging.INFO, f"{who} is paused at step {fields['step']}, {age}"
    level = logging.INFO if status in ("COMPLETED", "CANCELLED") else logging.WARNING
    verb = "is" if status in ("lost", "parked") else "ended:"
    return level, f"{who} {verb} {status} at step {fields['step']}, {age}"


def _run_ended(fields: Fields) -> _Line:
    level = logging.INFO if fields["status"] == "CANCELLED" else logging.WARNING
    age = f"{_seconds(fields['age_seconds'])} after its submit"
    return level, f"run {fields['run_id']} of {fields['agent']} was ended from outside: {fields['status']}, {age}"


def _call_settled(fields: Fields) -> _Line:
    took = f" in {_seconds(fields['wall_seconds'])}" if "wall_seconds" in fields else ""
    waited = f" after {_seconds(fields['queue_wait_seconds'])} in the queue" if "queue_wait_seconds" in fields else ""
    call = f"call of {fields['tool_name']} {fields['outcome']}{took}{waited}"
    match fields["verdict"]:
        case "settled" | "last":
            return logging.INFO, call
        case "retry":
            return logging.INFO, f"{call}; it is tried again"
        case "already":
            return logging.INFO, f"{call}, but it had its answer already, which stands"
        case verdict:
            return logging.WARNING, f"{call}, but that answer was refused: {verdict}"


def _model_answered(fields: Fields) -> _Line:
    level = logging.WARNING if fields["outcome"] == "failed" else logging.DEBUG
    return level, f"model {fields['model']} {fields['outcome']} after {_seconds(fields['wall_seconds'])}"


def _lease_lost(fields: Fields) -> _Line:
    return logging.WARNING, f"the lease of a {fields['kind']} is lost; what comes of it here is dropped"


def _sandbox_refused(fields: Fields) -> _Line:
    what = "for a call" if fields["reason"] == "process" else "at all"
    return logging.WARNING, f"no sandbox could be set up {what} in pool {fields['pool']}"


_LINES: Mapping[str, Callable[[Fields], _Line]] = {
    "run.claimed": _run_claimed,
    "run.left": _run_left,
    "run.ended": _run_ended,
    "call.settled": _call_settled,
    "model.answered": _model_answered,
    "lease.lost": _lease_lost,
    "sandbox.refused": _sandbox_refused,
}


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"
