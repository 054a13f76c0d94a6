"""The log of a process: where it goes, in which form, and how much of it. Imports nothing heavy, since all have one.

Never writes a line itself.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, TextIO

from agent_core.telemetry import listen
from workers.exporters.log_context import attach_ids, follow_inline_calls
from workers.exporters.log_forms import JsonLines, TextLines
from workers.exporters.log_lines import LogLines

LogFormat = Literal["auto", "text", "json"]

# What these say at info says nothing that the lines about runs and calls do not say, or repeats it for each request.
_QUIET = ("amqp", "asyncio", "celery", "flower", "httpcore2", "httpx2", "kombu", "openai", "tornado", "uvicorn")
# At debug these would write prompts, answers and arguments down.
_TALKATIVE = ("httpcore2", "httpx2", "openai")

_log = logging.getLogger("errandry")


@dataclass(frozen=True)
class Log:
    """How the log of this process is to be. `kind` is the command; `node` names the worker as its leases do."""

    kind: str
    node: str
    form: LogFormat = "auto"
    level: str = "info"
    pool: str | None = None

    def about(self) -> dict[str, str]:
        """What each line in JSON says of the process."""
        worker = f"{self.node}@{socket.gethostname()}:{os.getpid()}"
        return {"process": self.kind, "worker": worker, **({"pool": self.pool} if self.pool is not None else {})}


def start_log(log: Log, *, stream: TextIO | None = None) -> None:
    """From now on everything that this process logs, warns of, or leaves unhandled in a thread is a line on `stream`.

    By default that is stderr. In JSON, or in text: as `log.form` says, and for `auto` in text on a terminal only.
    Telemetry events become lines. To be called once.
    """
    stream = stream or sys.stderr
    in_full = log.level == "debug"
    handler = logging.StreamHandler(stream)
    as_json = log.form == "json" or (log.form == "auto" and not stream.isatty())
    handler.setFormatter(JsonLines(log.about(), in_full=in_full) if as_json else TextLines(in_full=in_full))
    handler.addFilter(attach_ids)
    logging.basicConfig(level=log.level.upper(), handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET if in_full else max(logging.WARNING, logging.root.level))
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger(name).level))
    # A line that cannot be written must not show its arguments instead.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    threading.excepthook = _thread_ended
    sys.unraisablehook = _unraisable
    listen(follow_inline_calls)
    listen(LogLines())


def is_json() -> bool:
    """Whether this process writes its log in JSON, so that nothing else may stand in between."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.root.handlers)


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        name = ended.thread.name if ended.thread is not None else "?"
        _log.error("thread %s ended by an exception", name, exc_info=ended.exc_value)


def _unraisable(ignored: sys.UnraisableHookArgs) -> None:
    error: BaseException | None = ignored.exc_value
    traceback: TracebackType | None = ignored.exc_traceback
    if error is not None:
        _log.error("an exception was ignored, since nobody could take it", exc_info=(type(error), error, traceback))
