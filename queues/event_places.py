"""What an event id means: a place in all the streams of one run at once. Reads nothing."""

from __future__ import annotations

from agent_core.errors import ErrandryError
from queues import keys

BEGINNING = "0-0"
_LARGEST = 2**64 - 1


class InvalidEventIdError(ErrandryError, ValueError):
    """The given event id is none that a stream of a run ever had."""


class Place:
    """Where a reader stands: the id last read in the run's own stream and in that of each pool it has met.

    As text it is an event id, `1795…-0,shell=1795…-3`; InvalidEventIdError for a text that is none.
    """

    def __init__(self, run_id: str, after: str | None) -> None:
        own, *pools = (after or BEGINNING).split(",")
        self._own = keys.events(run_id)
        self._run_id = run_id
        self._read = {self._own: _checked(own, after)}
        self._pools: dict[str, str] = {}
        self._left: set[str] = set()
        for entry in pools:
            pool, _, entry_id = entry.partition("=")
            self._add(pool, _checked(entry_id, after))

    def __str__(self) -> str:
        read = [self._read[self._own]]
        read += [f"{pool}={self._read[self._pools[pool]]}" for pool in sorted(self._pools)]
        return ",".join(read)

    @property
    def streams(self) -> dict[str, str]:
        """What to read, and after which entry."""
        return {stream: entry_id for stream, entry_id in self._read.items() if stream not in self._left}

    def is_own(self, stream: str) -> bool:
        """Whether the trusted side writes this stream."""
        return stream == self._own

    def advance(self, stream: str, entry_id: str) -> None:
        """Remember that an entry was read."""
        self._read[stream] = entry_id

    def meet(self, pool: str | None) -> bool:
        """Read what this pool tells from now on, from its beginning; False if that is read already."""
        if pool is None or pool in self._pools:
            return False
        self._add(pool, BEGINNING)
        return True

    def leave(self, stream: str) -> None:
        """Read a pool's stream no more from here; whoever begins again at this place tries it once more."""
        self._left.add(stream)

    def _add(self, pool: str, entry_id: str) -> None:
        stream = keys.part_events(pool, self._run_id)
        self._pools[pool] = stream
        self._read[stream] = entry_id


def own_place(event_id: str | None) -> str:
    """The part of an event id that names the place in the run's own stream."""
    return (event_id or BEGINNING).partition(",")[0]


def _checked(entry_id: str, after: str | None) -> str:
    at_ms, _, number = entry_id.partition("-")
    if not (_is_number(at_ms) and _is_number(number)):
        raise InvalidEventIdError(
            f"{after!r} is no event id; pass the `event_id` of an event, or None for the beginning"
        )
    return entry_id


def _is_number(text: str) -> bool:
    """Whether the server takes this for a part of an entry's id; callers hand on what strangers send them."""
    return text.isascii() and text.isdecimal() and len(text) <= len(str(_LARGEST)) and int(text) <= _LARGEST
