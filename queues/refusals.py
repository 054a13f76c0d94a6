"""Messages that workers refused: written down where the worker may write, and collected by the sweep as dead letters.

A pool's worker may write into its own keys only, so it leaves its letters there. Nothing of a message is kept but its
size, its digest and why it was refused.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import cast

import redis
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from queues import keys
from queues.dead_letters import DeadLetter
from queues.replies import now_ms
from queues.topology import Place, place_of

_KEPT = 500  # letters that wait to be collected; a flood must not fill the server
_COLLECTED = 100
_MOST_DEAD = 2000  # dead letters beyond which a refused message is a line in the worker's log only

_log = logging.getLogger(__name__)


class RefusedMessage(BaseModel):
    """A letter as it waits to be collected."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str = Field(max_length=100)
    reason: str = Field(max_length=300)
    size_bytes: int = Field(ge=0)
    digest: str = Field(pattern="^[0-9a-f]{16}$")


def set_aside(connection: redis.Redis, raw: bytes, place: Place, *, reason: str) -> None:
    """Write down that a message was refused. The same message twice is one dead letter."""
    digest = hashlib.sha256(raw).hexdigest()[:16]
    letter = RefusedMessage(queue=place.queue, reason=reason, size_bytes=len(raw), digest=digest)
    _log.warning("refused a message on %s: %s (%d bytes, sha256 %s…)", place.queue, reason, len(raw), digest)
    key = keys.refused(place.pool)
    try:
        pipeline = connection.pipeline()
        pipeline.lpush(key, letter.model_dump_json())
        pipeline.ltrim(key, 0, _KEPT - 1)
        pipeline.execute()
    except redis.RedisError as error:
        # Redis is full, say. The message was none of ours, so nothing is lost but the note of it.
        _log.warning("the refused message could not be written down: %s", type(error).__name__)


def collect(connection: redis.Redis, pools: Sequence[str]) -> int:
    """Make dead letters of what was refused since the last time; returns how many. A repeat makes no second ones."""
    found = 0
    for pool in (None, *pools):
        key = keys.refused(pool)
        for raw in cast(list[str], connection.lrange(key, -_COLLECTED, -1)):
            letter, now = _dead_letter(raw, pool), now_ms(connection)
            has_room = int(connection.zcard(keys.DEAD)) < _MOST_DEAD
            with connection.pipeline() as pipeline:
                if letter is not None and has_room:
                    pipeline.zadd(keys.DEAD, {letter.id: now})
                    pipeline.hset(keys.DEAD_LETTERS, letter.id, letter.to_json())
                # By its content: another sweep may have taken it already.
                pipeline.lrem(key, -1, raw)
                found += pipeline.execute()[-1]
    return found


def _dead_letter(raw: str, pool: str | None) -> DeadLetter | None:
    """What a worker wrote down, as far as it can be believed: a pool can write anything there, but for itself alone."""
    try:
        told = RefusedMessage.model_validate_json(raw)
    except ValidationError:
        return None
    place = place_of(told.queue)
    if place is None or place.pool != pool:
        return None
    return DeadLetter(
        id=f"message:{told.queue}:{told.digest}",
        kind="message",
        reason=f"refused: {told.reason} ({told.size_bytes} bytes)",
        pool=pool,
        queue=told.queue,
    )
