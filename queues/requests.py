"""What generators ask of Redis, which are sent the replies; `queues.carrying` carries it out, sync and async alike.

Never does I/O.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

T = TypeVar("T")

SPOILT = object()
"""The reply to a request that bears junk, where what a key holds is of another kind: a pool can put anything there."""


@dataclass(frozen=True)
class NextEntries:
    """Ask for what streams hold after the given entries, so many of each, and perhaps wait for the first of it."""

    after: Mapping[str, str]
    limit: int
    waits: bool = True
    at_once: ClassVar = False

    @property
    def bears_junk(self) -> bool:
        """Whether some of the streams are those of pools, besides a run's own."""
        return len(self.after) > 1

    def command(self, block_ms: int) -> tuple[str | int, ...]:
        """The words for Redis, which answers with what there is, or nothing: at once, or after the given time."""
        if not self.waits:
            return ("XREAD", "COUNT", self.limit, "STREAMS", *self.after, *self.after.values())
        return ("XREAD", "COUNT", self.limit, "BLOCK", block_ms, "STREAMS", *self.after, *self.after.values())


@dataclass(frozen=True)
class Lookup:
    """Ask for something that is there or not; nothing is waited for, with `at_once` not even a server that is away."""

    words: tuple[str | int, ...]
    bears_junk: bool = False
    at_once: bool = False


Request: TypeAlias = NextEntries | Lookup
Asking = Generator[Request, Any, T]
"""Yields requests, is sent the reply to each, and returns what came of it."""
