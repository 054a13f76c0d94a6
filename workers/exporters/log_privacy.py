"""What of a log record may be told: no exception's own words, since they quote what people, models and tools said.

Our own sentences are told, but for those of errors that say of themselves that they hold a payload. Whoever asks for
the log level debug gets everything.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from agent_core.errors import ErrandryError

_MOST_CHARACTERS = 4000
_MOST_FRAMES = 40
_MOST_CAUSES = 5
_TYPE_IN_REPR = re.compile(r"[A-Za-z_][\w.]*(?=\()")


def message_of(record: logging.LogRecord, *, in_full: bool) -> str:
    """The record's message. Not `in_full`, exceptions in it are told as `sentence_of` does."""
    text = str(record.msg if in_full else _one(record.msg))
    with suppress(Exception):
        # Whoever wrote the line may have made a mistake with its arguments; that must not cost the line.
        args = record.args if in_full else _told(record.args)
        text = text % args if args else text
    if not in_full:
        text = _first_words(record, text)
    text = text.rstrip()
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def sentence_of(error: BaseException, *, in_full: bool) -> str:
    """The error's own sentence if it is ours and holds no payload, else only what kind of error it is."""
    kind = type(error).__name__
    if in_full:
        return f"{kind}: {error}"
    if isinstance(error, ErrandryError) and not error.holds_payload:
        return f"{kind}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{kind}: {error.strerror}"
    return kind


def chain_of(error: BaseException) -> Iterator[tuple[BaseException, list[str]]]:
    """The error, and what it came from, each with where it was raised: files, lines and functions, outermost first."""
    seen: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if seen is None:
            return
        yield seen, _frames(seen.__traceback__)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _frames(traceback: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while traceback is not None and len(frames) < _MOST_FRAMES:
        code = traceback.tb_frame.f_code
        place = Path(code.co_filename)
        frames.append(f"{'/'.join(place.parts[-3:])}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames


def _first_words(record: logging.LogRecord, text: str) -> str:
    """What libraries that put others' words into their own say before they do."""
    if record.name == "asyncio":
        # What it adds in further lines are the reprs of futures, protocols and whatever its caller handed in.
        return text.partition("\n")[0]
    if record.name == "py.warnings":
        # Place and category; pydantic's warnings, for one, quote the value that they warn of.
        return ":".join(text.split(":", 3)[:3])
    return text


class _Words(str):
    """Text that `%r` shows as it is."""

    __slots__ = ()
    __repr__ = str.__str__


def _told(args: object) -> object:
    if isinstance(args, Mapping):
        # Celery's lines about a failed task: `exc` is what repr() makes of its exception.
        return {name: _exc(value) if name == "exc" else _one(value) for name, value in args.items()}
    return tuple(map(_one, args)) if isinstance(args, tuple) else args


def _one(value: object) -> object:
    if isinstance(value, BaseException):
        return _Words(_spoken(value))
    # As gather() returns them.
    return [_one(one) for one in value] if isinstance(value, list) else value


def _spoken(error: BaseException) -> str:
    """Within a sentence of ours the kind of an error of ours says nothing more."""
    if isinstance(error, ErrandryError) and not error.holds_payload:
        return str(error)
    return sentence_of(error, in_full=False)


def _exc(value: object) -> object:
    if isinstance(value, BaseException):
        return _one(value)
    found = _TYPE_IN_REPR.match(str(value))
    return found.group() if found else "an exception"
