"""Replies of Redis in the one shape that `connect` asks for, text; writes nothing.

redis-py types every reply for every way to connect; here it is said once which way is ours.
"""

from __future__ import annotations

import json
from typing import cast

import redis
from redis.exceptions import RedisError, ResponseError

Entry = tuple[str, dict[str, str]]


def fields(connection: redis.Redis, key: str, *names: str) -> list[str | None]:
    """The named fields of a hash, None for each that it lacks."""
    return cast(list[str | None], connection.hmget(key, list(names)))


def answers(connection: redis.Redis, waiting: str | None) -> dict[str, list[str | None]]:
    """The answers to each call of a run's waiting list, None where there is none yet; empty without a list.

    There are two for a call that a person has approved: theirs, then that of the pool. A pool that has put something
    else in the place of its part has answered nothing.
    """
    found: dict[str, list[str | None]] = {}
    for part in json.loads(waiting or "[]"):
        told: list[str | None] = [None] * len(part["calls"])
        try:
            if told:
                told = fields(connection, part["key"], *(f"answer:{call}" for call in part["calls"]))
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
        for call, answer in zip(part["calls"], told, strict=True):
            found.setdefault(call, []).append(answer)
    return found


def is_wrong_type(error: RedisError) -> bool:
    """Whether a key holds something of another kind than was asked for."""
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")


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


def last_entry_id(connection: redis.Redis, stream: str) -> str | None:
    """The id of a stream's newest entry, None if it holds none."""
    reply = cast(list[Entry], connection.xrevrange(stream, count=1))
    return reply[0][0] if reply else None
