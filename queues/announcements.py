"""What the tool workers of a pool say of themselves: that they are there, behind which wall, how many calls at once.

It decides nothing: no call waits for an announcement, and a worker that announces nothing is a worker all the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis
from pydantic import TypeAdapter, ValidationError
from redis.exceptions import ResponseError

from queues import keys
from queues.replies import Entry, is_wrong_type, now_ms
from queues.timing import milliseconds

# Of workers that crashed nothing is left after this many times the validity.
_FORGOTTEN_AFTER = 10
# A pool's credential can write what it likes here, so a reader takes no more than this.
_MOST_ENTRIES, _LONGEST = 2000, 4000


@dataclass(frozen=True)
class Announcement:
    """One tool worker; `gaps` says in words what its sandbox's level leaves open on its machine."""

    worker: str
    level: str
    concurrency: int
    gaps: tuple[str, ...] = ()


_ANNOUNCEMENT = TypeAdapter(Announcement)


class Announcements:
    """Where the workers of one pool announce themselves; needs the rights of the pool's own user."""

    def __init__(self, connection: redis.Redis, pool: str, *, valid_seconds: float) -> None:
        self._connection = connection
        self._key = keys.pool_workers(pool)
        self._valid_ms = milliseconds(valid_seconds)

    def announce(self, announcement: Announcement) -> None:
        """Be known for the validity from now on; a repeat, as each heartbeat brings it, extends that."""
        self._add(announcement.worker, json.dumps(asdict(announcement)))

    def withdraw(self, worker: str) -> None:
        """Be known no longer."""
        self._add(worker, "")

    def _add(self, worker: str, words: str) -> None:
        now = now_ms(self._connection)
        with self._connection.pipeline(transaction=False) as pipeline:
            # Trimmed by time: what workers under new names left behind goes, however many there were.
            entry = {"worker": worker, "says": words, "until": str(now + self._valid_ms)}
            pipeline.xadd(self._key, cast(dict[Any, Any], entry), minid=now - self._valid_ms, approximate=False)
            pipeline.pexpire(self._key, self._valid_ms * _FORGOTTEN_AFTER)
            pipeline.execute()


def announced(connection: redis.Redis, pool: str) -> list[Announcement]:
    """The workers of the pool that are known now, by name. What cannot be read is no announcement."""
    now = now_ms(connection)
    try:
        entries = cast(list[Entry], connection.xrevrange(keys.pool_workers(pool), count=_MOST_ENTRIES))
    except ResponseError as error:
        if not is_wrong_type(error):
            raise
        return []
    newest: dict[str, Announcement | None] = {}
    for _, said in entries:
        worker = said.get("worker", "")
        if worker not in newest:
            newest[worker] = _read(said, now=now)
    return sorted((one for one in newest.values() if one is not None), key=lambda one: one.worker)


def _read(said: dict[str, str], *, now: int) -> Announcement | None:
    try:
        if int(said.get("until", "")) <= now or len(said.get("says", "")) > _LONGEST:
            return None
        return _ANNOUNCEMENT.validate_json(said.get("says", ""))
    except (ValidationError, ValueError):
        return None


def waiting(connection: redis.Redis, queues: Sequence[str]) -> dict[str, int]:
    """How many messages lie in each of the queues."""
    return {queue: int(connection.llen(queue)) for queue in queues}
