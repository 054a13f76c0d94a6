"""Finds the server that is the primary just now, by asking the Sentinels of the address; promotes nobody.

Each connection asks anew before it is made, so after a fail-over every connection leads to the new primary. redis-py's
own `Sentinel` is left out: its threads may lose one of the Sentinels when two of them ask at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
from redis.asyncio.sentinel import SentinelManagedConnection as AsyncSentinelConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    SentinelConnectionPool,
    SentinelManagedConnection,
)

from queues.cancellable import Cancellable
from queues.store_address import Place, StoreAddress, Value, shown

# A Sentinel that does not answer at once is passed over: another one knows as much.
_SECONDS = 2.0


class _Asking:
    """What the Sentinels are asked, and how their answers are judged. Safe to share between threads."""

    def __init__(self, places: Sequence[Place], *, login: Mapping[str, str], tls: Mapping[str, Value]) -> None:
        self.places = tuple(places)
        self.options: dict[str, Any] = {
            "decode_responses": True,
            "protocol": 2,
            "socket_timeout": _SECONDS,
            "socket_connect_timeout": _SECONDS,
            **login,
            **({"ssl": True, **tls} if tls else {}),
        }
        self._first = self.places[0]

    def in_turn(self) -> Iterator[Place]:
        """First the one that knew last time."""
        first = self._first
        yield first
        yield from (place for place in self.places if place != first)

    def named(self, place: Place, told: Any) -> Place | None:
        """The primary, unless this Sentinel takes it for down."""
        if not told["is_master"] or told["is_sdown"] or told["is_odown"]:
            return None
        self._first = place
        return str(told["ip"]), int(told["port"])

    def judged(self, place: Place, told: Any, said: list[str]) -> Place | None:
        """The primary that one Sentinel `told` of; where it does not (or an error came instead), `said` has why."""
        if isinstance(told, RedisError):
            said.append(_said(place, told))
        elif (found := self.named(place, told)) is not None:
            return found
        else:
            said.append(_said(place, "takes the primary for down"))
        return None


class Sentinels(_Asking):
    """For what blocks; connections to Sentinels are not kept."""

    def discover_master(self, service: str) -> Place:
        """Where the primary is; MasterNotFoundError, a lost connection to redis-py, if no Sentinel names one."""
        said: list[str] = []
        for place in self.in_turn():
            try:
                told = self.asked(place, "sentinel_master", service)
            except RedisError as error:
                told = error
            if (found := self.judged(place, told, said)) is not None:
                return found
        raise _nobody(service, said)

    def asked(self, place: Place, question: str, service: str) -> Any:
        """One Sentinel's answer to one of redis-py's `sentinel_…` questions."""
        host, port = place
        with redis.Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), **self.options) as sentinel:
            return getattr(sentinel, question)(service)


class AsyncSentinels(_Asking):
    """As `Sentinels`, for asyncio."""

    async def discover_master(self, service: str) -> Place:
        """As `Sentinels.discover_master`."""
        said: list[str] = []
        for place in self.in_turn():
            host, port = place
            told: Any
            try:
                async with redis.asyncio.Redis(
                    host=host, port=port, retry=AsyncRetry(NoBackoff(), 0), **self.options
                ) as sentinel:
                    told = await sentinel.sentinel_master(service)
            except RedisError as error:
                told = error
            if (found := self.judged(place, told, said)) is not None:
                return found
        raise _nobody(service, said)


class PrimaryConnection(SentinelManagedConnection):
    """Leads to whichever server is the primary when it is made, and when it is made again.

    redis-py's own asks the Sentinels only when it is taken from the pool; where a command is tried again it goes back
    to where it was. A primary that is frozen, or has become a replica, would be asked until all tries are used up.
    """

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command, if need be over a new connection."""
        self._connect_retry()  # type: ignore[no-untyped-call]
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


class PrimaryTLSConnection(PrimaryConnection, redis.SSLConnection):
    """The same over TLS."""


class AsyncPrimaryConnection(Cancellable, AsyncSentinelConnection):
    """As `PrimaryConnection`, for asyncio."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command, if need be over a new connection."""
        await self._connect_retry()  # type: ignore[no-untyped-call]
        await super().send_packed_command(command, check_health)


class AsyncPrimaryTLSConnection(AsyncPrimaryConnection, redis.asyncio.SSLConnection):
    """The same over TLS."""


def primary_pool(address: StoreAddress, **options: Any) -> redis.ConnectionPool:
    """Connections to whichever server is the primary when they are made."""
    assert address.service is not None
    sentinels = Sentinels(address.places, login=address.sentinel_login, tls=address.tls)
    kind = PrimaryTLSConnection if address.tls else PrimaryConnection
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        address.service, sentinels, **{"connection_class": kind, **address.tls, **options}
    )


def async_primary_pool(address: StoreAddress, **options: Any) -> redis.asyncio.ConnectionPool:
    """As `primary_pool`, for asyncio."""
    assert address.service is not None
    sentinels = AsyncSentinels(address.places, login=address.sentinel_login, tls=address.tls)
    kind = AsyncPrimaryTLSConnection if address.tls else AsyncPrimaryConnection
    return AsyncSentinelConnectionPool(  # type: ignore[no-untyped-call]
        address.service, sentinels, **{"connection_class": kind, **address.tls, **options}
    )


def _said(place: Place, what: object) -> str:
    return f"{shown(place)}: {str(what).strip().rstrip('.') or type(what).__name__}"


def _nobody(service: str, said: Sequence[str]) -> MasterNotFoundError:
    return MasterNotFoundError(f"no Sentinel names a primary called {service}; {'; '.join(said)}")
