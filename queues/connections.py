"""Connections to Redis with bounded waits, and its refusals as sentences.

It never repeats a password: an address in a sentence is host, port and database only.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, TypeVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from queues.cancellable import CancellableConnection, CancellableSocketConnection, CancellableTLSConnection
from queues.errors import SettingsError, StoreRefusedError, StoreUnreachableError
from queues.sentinels import async_primary_pool, primary_pool
from queues.server_kinds import CLUSTER, UNFIT, mode_of
from queues.store_address import StoreAddress, shown

T = TypeVar("T")
Durability: TypeAlias = Literal["everysec", "fsync", "replica"]

RETRIES = 3
# Whoever waits holds a connection; redis-py has 100 of them and fails for whoever comes then.
_MOST_WAITING = 10_000
# What was computed is kept for so long while Redis is away; a run in that state costs a thread and its snapshot.
PATIENCE_SECONDS = 900.0
# By their text, because older servers wrap them into an error of the script they happened in.
_OUT_OF_MEMORY, _DISK_FULL, _READ_ONLY = "command not allowed when used memory", "MISCONF", "READONLY"
_NO_REPLICAS = "NOREPLICAS"
# Also said where a primary becomes a replica: to those who wait there, and to whoever asks before it has its data.
_DEMOTED = ("read only replica", "UNBLOCKED", "Link with MASTER is down")
_NO_WRITES_NOW = (_OUT_OF_MEMORY, _DISK_FULL, _READ_ONLY, _NO_REPLICAS, *_DEMOTED)
_SETTING = "redis_url (or ERRANDRY_REDIS_URL)"


def connect(
    url: str,
    *,
    client_name: str | None = None,
    socket_timeout_seconds: float = 10.0,
    connect_timeout_seconds: float = 3.0,
    max_connections: int = _MOST_WAITING,
) -> redis.Redis:
    """A client for `url`; it connects at the first command, and answers come as text. SettingsError for a wrong URL.

    A blocking command must ask for less than `socket_timeout_seconds`. A command whose answer was lost is sent again
    up to three times, so it must bear repetition. Options in the URL's query win over these. Behind Sentinel each
    connection leads to the server that is the primary when it is made.
    """
    address = _address(url)
    options = {
        "client_name": client_name,
        "max_connections": max_connections,
        "socket_timeout": socket_timeout_seconds,
        "socket_connect_timeout": connect_timeout_seconds,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), RETRIES),
        **_options(address),
    }
    if address.service is not None:
        return redis.Redis.from_pool(primary_pool(address, **options))
    kind: Any = redis.SSLConnection if address.tls else redis.Connection
    if address.path is not None:
        kind = redis.UnixDomainSocketConnection
    return redis.Redis.from_pool(redis.ConnectionPool(kind, **options, **_place(address)))


def aconnect(url: str, *, client_name: str | None = None, as_text: bool = True) -> redis.asyncio.Redis:
    """As `connect`, for asyncio: for what reads and waits. Answers come as bytes where they may be anything.

    Whoever waits holds a connection for as long, so how many there are is for the caller to bound.
    """
    address = _address(url)
    options = {
        "client_name": client_name,
        "max_connections": _MOST_WAITING,
        "socket_timeout": 10.0,
        "socket_connect_timeout": 3.0,
        "retry": AsyncRetry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), RETRIES),
        **_options(address),
        "decode_responses": as_text,
    }
    if address.service is not None:
        return redis.asyncio.Redis.from_pool(async_primary_pool(address, **options))
    kind: Any = CancellableTLSConnection if address.tls else CancellableConnection
    if address.path is not None:
        kind = CancellableSocketConnection
    return redis.asyncio.Redis.from_pool(redis.asyncio.ConnectionPool(kind, **options, **_place(address)))


def _address(url: str) -> StoreAddress:
    try:
        return StoreAddress.of(url)
    except ValueError as error:
        raise SettingsError(f"{_SETTING} {error}.") from None


def _place(address: StoreAddress) -> dict[str, Any]:
    if address.path is not None:
        return {"path": address.path}
    ((host, port),) = address.places
    return {"host": host, "port": port, **address.tls}


def _options(address: StoreAddress) -> dict[str, Any]:
    keepalive = {} if address.path is not None else {"socket_keepalive": True}
    return {
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "decode_responses": True,
        # A pool may write any bytes where others read; they reach whoever judges them, as text that is no JSON.
        "encoding_errors": "surrogateescape",
        # RESP2: one shape for the answers of streams on every server, and no HELLO that a narrow ACL would refuse.
        "protocol": 2,
        "health_check_interval": 10,
        **keepalive,
        **address.options,
    }


def insist(command: Callable[[], T], *, patience_seconds: float = PATIENCE_SECONDS) -> T:
    """The answer of a command that bears repetition, repeated for a while if Redis is away or takes no writes.

    Ever more rarely, up to once in two seconds, and at random, so that many who wait do not come back at one moment.
    """
    backoff, deadline = ExponentialWithJitterBackoff(base=0.05, cap=2.0), time.monotonic() + patience_seconds
    for failures in itertools.count(1):
        try:
            return command()
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, ResponseError) as error:
            if not _passes(error) or time.monotonic() > deadline:
                raise
        time.sleep(backoff.compute(failures))
    raise AssertionError("counting has no end")


def _passes(error: Exception) -> bool:
    """Whether another try may succeed: Redis is away, or it takes no writes just now."""
    return not isinstance(error, ResponseError) or takes_no_writes(error)


def takes_no_writes(error: ResponseError) -> bool:
    """Whether Redis refused a write that it may take later: it is full, or a replica, or has too few of its own."""
    return any(text in str(error) for text in _NO_WRITES_NOW)


def address_of(connection: redis.Redis) -> str:
    """Where the client connects to, without user and password; behind Sentinel, where it asks."""
    pool = connection.connection_pool
    options = pool.connection_kwargs
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    if isinstance(pool, SentinelConnectionPool):
        asked = ",".join(map(shown, pool.sentinel_manager.places))
        place = f"{asked}/{pool.service_name}"
    return f"{place}/{options.get('db', 0)}"


def check(connection: redis.Redis) -> None:
    """Returns if Redis answers, accepts this user and can keep runs.

    Raises `StoreUnreachableError`, or `StoreRefusedError` also for a node of a cluster and for a Sentinel.
    """
    with translated_errors(connection):
        connection.ping()
        mode = mode_of(connection)
    if mode in UNFIT:
        raise StoreRefusedError(f"Redis at {address_of(connection)} {UNFIT[mode]}")


@contextmanager
def translated_errors(connection: redis.Redis) -> Iterator[None]:
    """Errors of Redis inside the block leave it as `StoreUnreachableError` or `StoreRefusedError`.

    Other answers of Redis, as to a wrong command, are faults of ours and pass as they are.
    """
    try:
        yield
    except BusyLoadingError as error:
        raise StoreUnreachableError(
            f"Redis at {address_of(connection)} is still loading its data; try again in a moment."
        ) from error
    except (AuthenticationError, AuthorizationError, ResponseError) as error:
        sentence = _refusal(error)
        if sentence is None:
            raise
        raise StoreRefusedError(f"Redis at {address_of(connection)} {sentence}") from error
    except redis.exceptions.TimeoutError as error:
        raise StoreUnreachableError(
            f"Redis at {address_of(connection)} did not answer in time; see whether it is overloaded or frozen, "
            f"or mend {_SETTING}."
        ) from error
    except redis.exceptions.ConnectionError as error:
        raise StoreUnreachableError(
            f"Redis at {address_of(connection)} cannot be reached ({_reason(error)}); start it, or mend {_SETTING}."
        ) from error


def _refusal(error: Exception) -> str | None:
    text = str(error)
    cluster = isinstance(error, MovedError | ClusterDownError | ClusterCrossSlotError)
    if cluster and not isinstance(error, MasterDownError):  # which any replica may say
        return UNFIT[CLUSTER]
    if isinstance(error, AuthenticationError | AuthorizationError):
        return f"refused user or password; mend them in {_SETTING}."
    if isinstance(error, NoPermissionError):
        # What a pipeline was refused begins with the command, and so with what was to be written.
        said = text.rpartition(" caused error: ")[2]
        return f"does not permit this to the user in {_SETTING} ({said}); grant it, or name another user."
    if _OUT_OF_MEMORY in text:
        return "is out of memory and refuses writes; raise its maxmemory, or delete old runs."
    if isinstance(error, ReadOnlyError):
        return f"is a read-only replica; name the primary in {_SETTING}."
    if _NO_REPLICAS in text:
        return "has too few replicas at hand and refuses writes (min-replicas-to-write); start them again."
    if _DISK_FULL in text:
        return "cannot write to its disk and refuses writes; free some space where it keeps its files."
    return None


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
