"""Lets every line be written, whatever the terminal's or pipe's encoding: what it lacks is replaced, never an error."""

from __future__ import annotations

import codecs
import io
import sys

_NAME = "errandry.replaced"
_PLAIN = {"…": "...", "▶": ">", "·": "-", "→": "->", "“": '"', "”": '"'}


def replaced(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that cannot be encoded; an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lacking), error.end


def forgive_output() -> None:
    """Have standard output and standard error take any text from now on."""
    codecs.register_error(_NAME, replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)
