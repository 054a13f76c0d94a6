"""Replies of Redis in the one shape that `connect` asks for, text; writes nothing.

redis-py types every reply for every way to connect; here it is said once which way is ours.
"""

from __future__ import annotations

import json
from typing import cast

import redis

Entry = tuple[str, dict[str, str]]


def fields(connection: redis.Redis, key: str, *names: str) -> list[str | None]:
    """The named fields of a hash, None for each that it lacks."""
    return cast(list[str | None], connection.hmget(key, list(names)))


def answers(connection: redis.Redis, waiting: str | None) -> dict[str, str | None]:
    """The answer to each call of a run's waiting list, None where there is none yet; empty without a list."""
    found: dict[str, str | None] = {}
    for part in json.loads(waiting or "[]"):
        told = fields(connection, part["key"], *(f"answer:{call}" for call in part["calls"])) if part["calls"] else []
        found |= zip(part["calls"], told, strict=True)
    return found


def newest(connection: redis.Redis, key: str, limit: int) -> list[str]:
    """The members of a sorted set with the highest scores, highest first."""
    return cast(list[str], connection.zrange(key, 0, limit - 1, desc=True)) if limit > 0 else []


def overdue(connection: redis.Redis, key: str, limit: int) -> list[str]:
    """The members of a sorted set whose time has come by the server's clock, the longest overdue first."""
    return cast(list[str], connection.zrange(key, "-inf", str(now_ms(connection)), byscore=True, offset=0, num=limit))


def now_ms(connection: redis.Redis) -> int:
    """The server's clock, which all leases go by."""
    seconds, microseconds = connection.time()
    return seconds * 1000 + microseconds // 1000


def entries(connection: redis.Redis, streams: dict[str, str], *, limit: int, block_ms: int) -> list[tuple[str, Entry]]:
    """What streams hold after the given ids, each entry with its stream; waits for the first up to the given time."""
    places: dict[bytes | str | memoryview[int], int | bytes | str | memoryview[int]] = dict(streams.items())
    reply = connection.xread(places, count=limit, block=max(1, block_ms))
    batches = cast(list[tuple[str, list[Entry]]], reply or [])
    return [(stream, entry) for stream, batch in batches for entry in batch]


def entries_after(connection: redis.Redis, stream: str, entry_id: str, *, limit: int) -> list[Entry]:
    """What a stream holds after an entry, without waiting for more."""
    return cast(list[Entry], connection.xrange(stream, min=f"({entry_id}", count=limit))


def entries_until(connection: redis.Redis, stream: str, entry_id: str) -> list[Entry]:
    """What a stream holds up to and with an entry."""
    return cast(list[Entry], connection.xrange(stream, max=entry_id))


def last_entry_id(connection: redis.Redis, stream: str) -> str | None:
    """The id of a stream's newest entry, None if it holds none."""
    reply = cast(list[Entry], connection.xrevrange(stream, count=1))
    return reply[0][0] if reply else None
