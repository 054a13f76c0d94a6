"""Webhooks: announcements of a run's end, or of its pause for people, until they are delivered.

A run's own scripts put them into one sorted set, so no crash separates the two. Delivers nothing itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import redis

from agent_core.run import RunStatus
from queues import keys
from queues.dead_letters import DeadLetter
from queues.replies import now_ms, overdue
from queues.scripts import Reply, ScriptCall, Scripts
from queues.timing import milliseconds

LEASE_SECONDS = 30.0  # for one try; it has to end before
# After the first try at once; with these waits the twelfth comes about a day later.
WAITS_SECONDS = (5, 30, 120, 600, 1800, 3600, 7200, 10800, 14400, 21600, 21600)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Announcement:
    """That a run ended, or paused for people, at its given version. `entry` is how it lies in the sorted set."""

    entry: str
    run_id: str
    version: str
    status: RunStatus
    at: datetime

    @classmethod
    def read(cls, entry: str) -> Announcement:
        """The announcement of an entry; ValueError if it is none."""
        told = json.loads(entry)
        if not isinstance(told, list) or len(told) != 4 or not all(isinstance(part, str) for part in told):
            raise ValueError(f"{entry!r} is no announcement")
        run_id, version, status, at = told
        return cls(entry, run_id, version, RunStatus(status), datetime.fromtimestamp(int(at) / 1000, UTC))

    @property
    def id(self) -> str:
        """The same for each try, so that its receiver knows one that it has seen before."""
        return f"msg_{self.run_id}_{self.version}"


@dataclass(frozen=True)
class Due:
    """An announcement that is due, and where to; without a URL its run is gone."""

    announcement: Announcement
    url: str | None

    @property
    def host(self) -> str:
        """Host and port, as the URL has them."""
        return (self.url or "").partition("://")[2].partition("/")[0].rpartition("@")[2].lower()


@dataclass(frozen=True)
class Try:
    """The right to deliver an announcement, for the length of a lease. `number` counts from 1."""

    announcement: Announcement
    number: int
    holder: str


class Webhooks:
    """What is due, and what came of it. Every method may be repeated; several gateways may deliver at once."""

    def __init__(self, connection: redis.Redis, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._lease_ms = milliseconds(lease_seconds)

    def due(self, *, limit: int) -> list[Due]:
        """What is due now, the longest overdue first; what is no announcement at all is taken out on the way."""
        announcements = [
            read for entry in overdue(self._connection, keys.WEBHOOKS, limit) if (read := self._read(entry))
        ]
        with self._connection.pipeline(transaction=False) as pipeline:
            for announcement in announcements:
                pipeline.hget(keys.run(announcement.run_id), "webhook")
            urls = cast(list[str | None], pipeline.execute())
        return [Due(announcement, url) for announcement, url in zip(announcements, urls, strict=True)]

    def seconds_until_due(self) -> float | None:
        """How long until something is due, 0 if it is; None if nothing is on the way."""
        first = cast(list[tuple[str, float]], self._connection.zrange(keys.WEBHOOKS, 0, 0, withscores=True))
        return max(0.0, (first[0][1] - now_ms(self._connection)) / 1000) if first else None

    def take(self, announcements: Sequence[Announcement]) -> list[Try]:
        """The right to try each, at one go; those that another has, or that are done with, are left out."""
        holder = uuid4().hex
        calls = [
            ScriptCall(
                "take_webhook",
                [keys.WEBHOOKS, keys.run(announcement.run_id)],
                [announcement.entry, announcement.version, holder, self._lease_ms],
            )
            for announcement in announcements
        ]
        taken = []
        for announcement, reply in zip(announcements, self._carry_out(calls), strict=True):
            if isinstance(reply, list) and reply[0] == "taken":
                taken.append(Try(announcement, int(reply[1]), holder))
        return taken

    def put_off(self, held: Try, *, seconds: float) -> None:
        """Have it tried again after a while; no effect if another holds it by now."""
        self._carry_out([self._later(held.announcement, held.holder, seconds)])

    def put_off_untried(self, waits: Sequence[tuple[Announcement, float]]) -> None:
        """Look at announcements again only after so many seconds, without counting a try."""
        self._carry_out([self._later(announcement, "", seconds) for announcement, seconds in waits])

    def close(self, announcement: Announcement) -> None:
        """It is delivered, or there is nothing to deliver any more."""
        self._close(announcement)

    def bury(self, held: Try, *, reason: str) -> None:
        """Set it aside as a dead letter; no effect if another holds it by now, who may deliver it yet."""
        announcement = held.announcement
        letter = DeadLetter(
            id=f"webhook:{announcement.run_id}:{announcement.version}",
            kind="webhook",
            run_id=announcement.run_id,
            reason=reason,
            announcement=announcement.entry,
        )
        self._close(announcement, holder=held.holder, letter=letter)

    def _close(self, announcement: Announcement, *, holder: str = "", letter: DeadLetter | None = None) -> None:
        self._scripts.word(
            "close_webhook",
            [keys.WEBHOOKS, keys.run(announcement.run_id), keys.DEAD, keys.DEAD_LETTERS],
            [
                announcement.entry,
                announcement.version,
                holder,
                letter.id if letter else "",
                letter.to_json() if letter else "",
            ],
        )

    def _carry_out(self, calls: Sequence[ScriptCall]) -> list[Reply]:
        replies = self._scripts.words(calls)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return cast(list[Reply], replies)

    def _later(self, announcement: Announcement, holder: str, seconds: float) -> ScriptCall:
        return ScriptCall(
            "put_off_webhook",
            [keys.WEBHOOKS, keys.run(announcement.run_id)],
            [announcement.entry, announcement.version, holder, milliseconds(seconds)],
        )

    def _read(self, entry: str) -> Announcement | None:
        try:
            return Announcement.read(entry)
        except (ValueError, OverflowError):
            _log.warning("an entry of %s is no announcement and is taken out: %.100r", keys.WEBHOOKS, entry)
            self._connection.zrem(keys.WEBHOOKS, entry)
            return None
