"""Writes that are on disk, or with a replica, before they are acknowledged; never repeats one by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.exceptions import ResponseError

from queues.connections import Durability, address_of
from queues.errors import StoreRefusedError, StoreUnreachableError

_CONFIRM_MS = 5000
_AGAIN = "submit again with the same idempotency_key."


@contextmanager
def written_through(connection: redis.Redis, durability: Durability) -> Iterator[redis.Redis]:
    """A connection for writes that are where `durability` wants them when the block ends.

    On the server's disk (`fsync`), or also with a replica (`replica`), which then survive the loss of the server as
    long as that replica takes its place. The block must write something, also if it finds all done already: what was
    written over another connection is not waited for. StoreUnreachableError if nothing confirms the write.
    """
    if durability == "everysec":
        yield connection
        return
    # WAIT and WAITAOF wait for what their own connection wrote, so both have to use the same one.
    with connection.client() as single:  # type: ignore[no-untyped-call]
        yield single
        stored = f"Redis at {address_of(connection)} stored the write, but"
        if durability == "replica":
            if int(_asked_once(single, stored, "WAIT", 1, _CONFIRM_MS)) < 1:
                raise StoreUnreachableError(f"{stored} no replica confirmed it within {_seconds()}; {_AGAIN}")
            return
        try:
            (local, _) = _asked_once(single, stored, "WAITAOF", 1, 0, _CONFIRM_MS)
        except ResponseError as error:
            raise StoreRefusedError(
                f"{stored} cannot confirm that it is on disk ({error}); "
                'set appendonly yes there (WAITAOF needs Redis 7.2 or Valkey), or durability = "everysec".'
            ) from error
        if local < 1:
            raise StoreUnreachableError(f"{stored} it was not on disk within {_seconds()}; {_AGAIN}")


def _asked_once(single: redis.Redis, stored: str, *command: str | int) -> Any:
    """The answer, over the very connection that wrote.

    redis-py would ask again over a new one, perhaps of another server; that has written nothing, so the answer would
    be yes at once.
    """
    connection = single.connection
    assert connection is not None
    try:
        connection.send_command(*command, check_health=False)  # type: ignore[no-untyped-call]
        return single.parse_response(connection, str(command[0]))  # type: ignore[no-untyped-call]
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise StoreUnreachableError(f"{stored} went away before it was safe; {_AGAIN}") from error


def _seconds() -> str:
    return f"{_CONFIRM_MS / 1000:g} s"
