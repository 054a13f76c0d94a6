"""The terminal or pipe that commands write to: lines for people, JSON for machines; colour only on a terminal.

Never lets a control character of a model, a tool or a producer reach the terminal.
"""

from __future__ import annotations

import json
import re
from functools import cache

from rich.console import Console
from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@cache
def console() -> Console:
    """Standard output: plain and unwrapped in a pipe, coloured on a terminal."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str = "", *, style: str = "default", end: str = "\n") -> None:
    """Print a line of ours or of others; what would steer the terminal is shown as a question mark."""
    console().print(Text(clean(text), style=style), end=end)


def clean(text: str) -> str:
    """The text without characters that steer a terminal; line ends and tabs stay."""
    return _CONTROL.sub("?", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def print_json(document: str) -> None:
    """Print a JSON document on a line of its own: unwrapped, uncoloured, and whole in any encoding."""
    file = console().file
    try:
        document.encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        document = json.dumps(json.loads(document))  # every character beyond ASCII as an escape
    file.write(f"{document}\n")
    file.flush()
