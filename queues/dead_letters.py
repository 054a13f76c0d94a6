"""Dead letters: runs and calls that killed their workers too often, refused messages, undeliverable webhooks.

Kombu on Redis has no dead-letter exchange: what is buried is written down here first, by the script that buries it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, cast

import redis
from pydantic import BaseModel, ConfigDict

from queues import keys
from queues.calls import CallAddress
from queues.envelopes import call_envelope, stretch_task
from queues.errors import DeadLetterNotFoundError
from queues.replies import fields, newest
from queues.scripts import Scripts
from queues.timing import Timing, milliseconds
from queues.topology import lane_named


class DeadLetter(BaseModel):
    """What was buried and why. A run's id is its own, a call's id its idempotency key.

    Of a message that was refused nothing is kept, so there is nothing to requeue.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Literal["run", "call", "message", "webhook"]
    run_id: str = ""
    reason: str
    pool: str | None = None
    queue: str | None = None
    step: int | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    announcement: str | None = None  # of a webhook: what was to be told, as it was due
    buried_at: datetime | None = None  # from the index; not in the stored form

    def to_json(self) -> str:
        """The stored form."""
        return self.model_dump_json(exclude_none=True, exclude={"buried_at"})


class DeadLetters:
    """Lists and digs up. A repeat finds nothing and says so."""

    def __init__(self, connection: redis.Redis, *, timing: Timing) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._timing = timing

    def latest(self, *, limit: int) -> list[DeadLetter]:
        """The newest first."""
        ids = newest(self._connection, keys.DEAD, limit)
        stored = fields(self._connection, keys.DEAD_LETTERS, *ids) if ids else []
        return [self._dated(letter) for letter in stored if letter is not None]

    def load(self, letter_id: str) -> DeadLetter:
        """One of them; DeadLetterNotFoundError if it is not there."""
        stored = cast(str | None, self._connection.hget(keys.DEAD_LETTERS, letter_id))
        if stored is None:
            raise DeadLetterNotFoundError(f"there is no dead letter {letter_id!r}; `errandry dead list` shows them")
        return self._dated(stored)

    def _dated(self, stored: str) -> DeadLetter:
        letter = DeadLetter.model_validate_json(stored)
        buried = self._connection.zscore(keys.DEAD, letter.id)
        at = None if buried is None else datetime.fromtimestamp(float(buried) / 1000, UTC)
        return letter.model_copy(update={"buried_at": at})

    def requeue_webhook(self, letter: DeadLetter) -> bool:
        """Have an announcement delivered now, with all its tries anew; False if its run is gone. So is the letter."""
        word = self._scripts.word(
            "requeue_webhook",
            [keys.WEBHOOKS, keys.WEBHOOKS_WAKE, keys.run(letter.run_id), keys.DEAD, keys.DEAD_LETTERS],
            [letter.announcement or "", letter.id],
        )
        return word == "requeued"

    def requeue_call(self, letter: DeadLetter) -> bool:
        """Put a buried call back onto its pool's queue; False if its run has ended meanwhile. The letter is gone."""
        address = CallAddress(
            str(letter.pool), letter.run_id, int(letter.step or 0), str(letter.tool_call_id), str(letter.tool_name)
        )
        lane, stretch = fields(self._connection, address.part, "lane", "stretch")
        ids = (address.run_id, address.step, address.tool_call_id)
        parent_id = stretch_task(address.run_id, stretch)
        envelope = call_envelope(address.pool, address.tool_name, ids, lane_named(lane), parent_id=parent_id)
        word = self._scripts.word(
            "requeue_call",
            [address.part, address.due, envelope.queue, keys.DEAD, keys.DEAD_LETTERS],
            [
                address.tool_call_id,
                address.due_member,
                envelope.render(),
                milliseconds(self._timing.repush_seconds),
                letter.id,
            ],
        )
        return word == "requeued"
