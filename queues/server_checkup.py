"""Whether a Redis server is safe to keep runs in: its password, durability, memory, role, clock. Changes nothing.

`server_findings` looks; `judged` only judges what the server tells of itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.retry import Retry

from queues.checkup import Finding, ok, problem, seen, unseen, warning
from queues.connections import Durability, address_of, check
from queues.errors import StoreRefusedError, StoreUnreachableError
from queues.replies import now_ms
from queues.standby_checkup import standby_findings
from queues.user_checkup import user_findings

# ZRANGE … BYSCORE and ZADD … LT, which the scripts and the sweep use; WAITAOF, which durability = "fsync" uses.
_OLDEST: dict[Durability, tuple[int, int]] = {"everysec": (6, 2), "fsync": (7, 2), "replica": (6, 2)}
_NEARLY_FULL = 0.8
_FREE_CLIENTS = 100  # a worker of ours keeps about ten connections
_CLOCK_SECONDS = 5.0

Told = Mapping[str, object]


def server_findings(
    connection: redis.Redis, *, durability: Durability = "everysec", clock: Callable[[], float] = time.time
) -> list[Finding]:
    """One finding for each property of the server; only the first if it does not answer."""
    try:
        check(connection)
    except (StoreUnreachableError, StoreRefusedError) as error:
        return [problem("redis.reachable", str(error), "")]
    return [
        ok("redis.reachable", f"Redis answers at {address_of(connection)}"),
        *seen(connection, "redis.password", lambda: [_password(connection)]),
        *seen(connection, "redis.users", lambda: user_findings(connection)),
        *seen(connection, "redis.clock", lambda: [_clock(connection, clock)]),
        *_settings(connection, durability),
    ]


def judged(info: Told, fsync: str | None, *, durability: Durability = "everysec") -> Iterator[Finding]:
    """What INFO says, and `appendfsync` if it could be read, for what the project's `durability` asks."""
    yield _version(info, durability)
    yield _role(info)
    yield _eviction(info)
    yield from _durability(info, fsync)
    yield _memory(info)
    yield from _clients(info)


def _settings(connection: redis.Redis, durability: Durability) -> list[Finding]:
    try:
        info = connection.info()
    except ResponseError as error:
        return [unseen("redis.settings", f"INFO is refused ({error})")]
    assert isinstance(info, dict)
    return [
        *judged(info, _fsync(connection), durability=durability),
        *standby_findings(connection, info, durability=durability),
    ]


def _fsync(connection: redis.Redis) -> str | None:
    try:
        told = connection.config_get("appendfsync")
    except ResponseError:
        # Forbidden by an ACL, or renamed by a provider.
        return None
    return str(told["appendfsync"]) if isinstance(told, dict) and "appendfsync" in told else None


def _password(connection: redis.Redis) -> Finding:
    """By knocking without one: what counts is whether a stranger gets in, whatever the settings say."""
    pool = connection.connection_pool
    if "path" in pool.connection_kwargs:
        return ok("redis.password", "only this machine reaches the server, through a unix socket")
    options = {name: value for name, value in pool.connection_kwargs.items() if name not in ("username", "password")}
    stranger = redis.Redis(
        connection_pool=redis.ConnectionPool(
            connection_class=pool.connection_class, **{**options, "retry": Retry(NoBackoff(), 0)}
        )
    )
    try:
        stranger.ping()
    except (AuthenticationError, NoPermissionError):
        return ok("redis.password", "nobody gets in without a password")
    finally:
        stranger.close()
    return problem(
        "redis.password",
        "the server lets in whoever reaches it, without a password",
        "`errandry acl` prints users with passwords for all processes; then switch the user default off",
    )


def _clock(connection: redis.Redis, clock: Callable[[], float]) -> Finding:
    apart = clock() - now_ms(connection) / 1000
    if abs(apart) <= _CLOCK_SECONDS:
        return ok("redis.clock", "the clocks of this machine and of the server agree")
    return warning(
        "redis.clock",
        f"the clocks of this machine and of the server are {abs(apart):.0f} s apart",
        "let NTP set both; leases go by the server's clock, but log lines and what Flower shows do not",
    )


def _version(info: Told, durability: Durability) -> Finding:
    version = str(info.get("redis_version", "0"))
    name = "Valkey" if "valkey_version" in info else "Redis"
    shown = f"{name} {info.get('valkey_version', version)}"
    oldest = _OLDEST[durability]
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) >= oldest:
        return ok("redis.version", shown)
    needed = ".".join(map(str, oldest))
    return problem(
        "redis.version",
        f'{shown} is too old; durability = "{durability}" needs {needed}',
        f"upgrade the server to Redis {needed}, or any Valkey",
    )


def _role(info: Told) -> Finding:
    if info.get("role", "master") == "master":
        return ok("redis.role", "the server is a primary")
    return problem(
        "redis.role",
        f"the server is a replica of {info.get('master_host')}:{info.get('master_port')}, and takes no writes",
        "name the primary in redis_url",
    )


def _eviction(info: Told) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy == "noeviction":
        return ok("redis.eviction", "a full server refuses writes, and throws nothing away")
    return problem(
        "redis.eviction",
        f"maxmemory-policy is {policy}: a full server throws runs away without a word",
        "CONFIG SET maxmemory-policy noeviction, and the same in the server's configuration file",
    )


def _durability(info: Told, fsync: str | None) -> Iterator[Finding]:
    if not info.get("aof_enabled"):
        yield problem(
            "redis.durability",
            "appendonly is off: a server that dies forgets runs that were acknowledged",
            "CONFIG SET appendonly yes, and the same in the server's configuration file",
        )
        return
    yield ok("redis.durability", "appendonly is on")
    if info.get("aof_last_write_status", "ok") != "ok":
        yield problem(
            "redis.disk", "the server's last write to its append-only file failed", "free some space on its disk"
        )
    if fsync is None:
        yield unseen("redis.fsync", "CONFIG GET appendfsync is refused")
    elif fsync == "no":
        yield warning(
            "redis.fsync",
            "appendfsync is no: a power cut takes the last half minute with it",
            "CONFIG SET appendfsync everysec, and the same in the server's configuration file",
        )
    else:
        yield ok("redis.fsync", f"appendfsync is {fsync}")


def _memory(info: Told) -> Finding:
    used, limit = _number(info, "used_memory"), _number(info, "maxmemory")
    if not limit:
        return ok("redis.memory", f"{_megabytes(used)} used, without a limit of its own")
    text = f"{_megabytes(used)} of {_megabytes(limit)} used"
    remedy = "raise maxmemory, or let finished runs go sooner"
    if used >= limit:
        return problem("redis.memory", f"{text}: the server is full and refuses new runs", remedy)
    if used >= _NEARLY_FULL * limit:
        return warning("redis.memory", f"{text}: the server is nearly full", remedy)
    return ok("redis.memory", text)


def _clients(info: Told) -> Iterator[Finding]:
    limit, connected = _number(info, "maxclients"), _number(info, "connected_clients")
    if not limit:
        return  # servers before 7.0 do not say
    text = f"{connected} of {limit} connections are taken"
    if limit - connected < _FREE_CLIENTS:
        yield warning("redis.clients", text, "raise maxclients: each worker keeps about ten connections")
    else:
        yield ok("redis.clients", text)


def _number(info: Told, name: str) -> int:
    value = info.get(name, 0)
    return value if isinstance(value, int) else 0


def _megabytes(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MB"
