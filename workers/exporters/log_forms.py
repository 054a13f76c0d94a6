"""The two forms of a log line: for people on a terminal, and JSON, one object a line, for whatever collects logs.

The JSON form is written here and not by a library: those print every attribute that a record was given, and Celery
gives its records the arguments of tasks. What stands in a line is a list that can be read here.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from workers.exporters.log_privacy import chain_of, message_of, sentence_of

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


_SHOWN = ("run_id", "tool_call_id", "pool", "attempt")


class TextLines(logging.Formatter):
    """Time, level, logger, message, and at the end which run and call this was about, unless the message says so."""

    def __init__(self, *, in_full: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
        self._in_full = in_full

    def format(self, record: logging.LogRecord) -> str:
        record.message = _CONTROL.sub("?", message_of(record, in_full=self._in_full))
        record.asctime = self.formatTime(record, self.datefmt)
        more = [(name, _CONTROL.sub("?", str(ids_of(record).get(name, "")))) for name in _SHOWN]
        ids = " ".join(f"{name}={value}" for name, value in more if value and not _says(record.message, name, value))
        line = f"{self.formatMessage(record)} [{ids}]" if ids else self.formatMessage(record)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line = "\n".join([line, *_traced(error, in_full=self._in_full)])
        # What others wrote must not look like a line of its own.
        return line.replace("\n", "\n    ")


class JsonLines(logging.Formatter):
    """One object a line, pure ASCII: time, level, logger, message; `about` the process; the ids; an event's fields.

    What is such a line already, because another process wrote it, stays as it is.
    """

    def __init__(self, about: Mapping[str, str], *, in_full: bool = False) -> None:
        super().__init__()
        self._about = dict(about)
        self._in_full = in_full

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(ready := getattr(record, "ready_line", None), str):
            return ready
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._about,
            "logger": record.name,
            "message": message_of(record, in_full=self._in_full),
            **ids_of(record),
            **getattr(record, "fields", {}),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["exception"] = sentence_of(error, in_full=self._in_full)
            line["traceback"] = "\n".join(_traced(error, in_full=self._in_full))
        return json.dumps(line, default=str, separators=(",", ":"))


def _says(message: str, name: str, value: str) -> bool:
    """Whether a message holds an id already; what is short may stand in it by chance."""
    return name.endswith("_id") and value in message


def ids_of(record: logging.LogRecord) -> Mapping[str, object]:
    """What `log_context.attach_ids` has attached."""
    ids: Mapping[str, object] = getattr(record, "ids", {})
    return ids


def _traced(error: BaseException, *, in_full: bool) -> list[str]:
    lines = []
    for number, (one, frames) in enumerate(chain_of(error)):
        words = _CONTROL.sub("?", sentence_of(one, in_full=in_full))
        lines += [f"from {words}" if number else words, *(f"  {frame}" for frame in frames)]
    return lines
