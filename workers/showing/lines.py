"""Text that comes in pieces which end anywhere, made into lines: as it comes, or only once each line is whole."""

from __future__ import annotations

import re

from workers.terminal import say

# A carriage return at the end of a piece may be half of a line's end.
_LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")
_LONGEST = 4000  # of what nobody ends; it becomes a line of its own then


class WholeLines:
    """Prints each line behind a prefix once it has ended; others may print between two lines."""

    def __init__(self, prefix: str, *, style: str = "default") -> None:
        self._prefix, self._style = prefix, style
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take in the next piece."""
        *lines, self._rest = _LINE_END.split(self._rest + text)
        for line in lines:
            say(f"{self._prefix}{line}", style=self._style)
        if len(self._rest) > _LONGEST:
            self.end()

    def give_way(self) -> None:
        """Another line is about to be printed."""

    def end(self) -> None:
        """Print what has not ended: nothing more comes."""
        if self._rest:
            say(f"{self._prefix}{self._rest.removesuffix(chr(13))}", style=self._style)
            self._rest = ""


class LiveLines:
    """Prints each piece at once, each line behind a prefix; what others print in between begins a new line."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._is_open = False
        self._held = ""

    def feed(self, text: str) -> None:
        """Take in the next piece."""
        first, *others = _LINE_END.split(self._held + text)
        self._print(first)
        for line in others:
            if not self._is_open:
                say(self._prefix, end="")
            say()
            self._is_open = False
            self._print(line)

    def give_way(self) -> None:
        """Another line is about to be printed."""
        if self._is_open:
            say()
            self._is_open = False

    def end(self) -> None:
        """Nothing more comes."""
        self._held = ""
        self.give_way()

    def _print(self, text: str) -> None:
        self._held = "\r" if text.endswith("\r") else ""
        shown = text.removesuffix("\r")
        if shown and not self._is_open:
            say(self._prefix, end="")
            self._is_open = True
        if shown:
            say(shown, end="")
