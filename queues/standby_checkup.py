"""Whether somebody can take the server's place: the replicas, and the Sentinels that would promote one.

Changes nothing. A server that is alone, and is meant to be, is no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from queues.checkup import Finding, counted, ok, problem, unseen, warning
from queues.connections import Durability
from queues.sentinels import Sentinels
from queues.store_address import Place, shown

_ENOUGH_SENTINELS = 3
_SAME_SETTINGS = "give every server the same users, appendonly, appendfsync and maxmemory-policy"
_KEPT = ("username", "password", "ssl_", "socket_timeout", "socket_connect_timeout")

Told = Mapping[str, object]


def standby_findings(connection: redis.Redis, info: Told, *, durability: Durability) -> Iterator[Finding]:
    """What INFO of the primary says of its replicas; behind Sentinel also what the Sentinels and the replicas say."""
    pool: Any = connection.connection_pool
    is_watched = isinstance(pool, SentinelConnectionPool)
    if is_watched:
        yield from _sentinels(pool.sentinel_manager, pool.service_name)
    if info.get("role") != "master":
        return
    followers = list(_followers(info))
    if followers:
        yield ok("redis.replicas", f"{counted(len(followers), 'replica')} of the primary: {_listed(followers)}")
        yield _fewest(connection, info, len(followers))
    elif is_watched:
        yield _alone("no replica follows the primary, so Sentinel has nobody to promote")
    elif durability == "replica":
        yield _alone('durability is "replica", but no replica follows: no submit can be confirmed')
    if is_watched:
        for place, _ in followers:
            yield from _successor(
                place, pool.connection_kwargs, is_tls=issubclass(pool.connection_class, redis.SSLConnection)
            )


def _followers(info: Told) -> Iterator[tuple[Place, int]]:
    """Replicas that have all but the last moments, and how many seconds ago each said so."""
    number = 0
    while isinstance(told := info.get(f"slave{number}"), dict):
        if told.get("state") == "online":
            yield (str(told["ip"]), int(told["port"])), int(told["lag"])
        number += 1


def _listed(followers: list[tuple[Place, int]]) -> str:
    return ", ".join(f"{shown(place)} ({lag} s behind)" for place, lag in followers)


def _alone(text: str) -> Finding:
    return problem("redis.replicas", text, f"start a replica (replicaof) and wait until it follows; {_SAME_SETTINGS}")


def _fewest(connection: redis.Redis, info: Told, following: int) -> Finding:
    try:
        fewest = int(str(connection.config_get("min-replicas-to-write")["min-replicas-to-write"]))
    except (RedisError, KeyError):
        return unseen("redis.min_replicas", "CONFIG GET min-replicas-to-write is refused")
    good = info.get("min_slaves_good_slaves", following)
    if fewest == 0:
        return warning(
            "redis.min_replicas",
            "min-replicas-to-write is 0: a primary that is cut off takes writes which are lost once it is a replica",
            "with two replicas or more: CONFIG SET min-replicas-to-write 1 on every server, and in their files",
        )
    if isinstance(good, int) and good < fewest:
        return problem(
            "redis.min_replicas",
            f"the server refuses writes: min-replicas-to-write is {fewest}, and {good} are in step",
            "start the replicas that are away",
        )
    return ok("redis.min_replicas", f"writes stop while fewer than {fewest} of {following} are in step")


def _sentinels(sentinels: Sentinels, service: str) -> Iterator[Finding]:
    named: dict[Place, list[Place]] = {}
    silent: list[str] = []
    for place in sentinels.places:
        try:
            told = sentinels.asked(place, "sentinel_master", service)
        except RedisError as error:
            silent.append(f"{shown(place)}: {error}")
        else:
            named.setdefault((str(told["ip"]), int(told["port"])), []).append(place)
    if len(named) > 1:
        details = [f"{shown(primary)}: named by {', '.join(map(shown, who))}" for primary, who in named.items()]
        yield warning(
            "redis.sentinels", "the Sentinels name different primaries", "look again in some seconds", details
        )
    elif named:
        ((primary, who),) = named.items()
        yield ok("redis.sentinels", f"{counted(len(who), 'Sentinel')}: {service} is {shown(primary)}")
    if silent:
        text = f"{counted(len(silent), 'Sentinel')} of the address cannot be asked"
        yield warning("redis.sentinels", text, "start them, or take them out of redis_url", silent)
    if len(sentinels.places) < _ENOUGH_SENTINELS:
        text = f"the address names {counted(len(sentinels.places), 'Sentinel')}"
        yield warning("redis.sentinels", text, "run three on three machines, and name them all in redis_url")
    for who in named.values():
        try:
            sentinels.asked(who[0], "sentinel_ckquorum", service)
        except RedisError as error:
            yield problem("redis.quorum", f"no replica would be promoted: {error}", "start the other Sentinels")
        return


def _successor(place: Place, options: Mapping[str, Any], *, is_tls: bool) -> Iterator[Finding]:
    """Whether a replica would do in the primary's place."""
    host, port = place
    kept: dict[str, Any] = {name: value for name, value in options.items() if name.startswith(_KEPT)}
    replica = redis.Redis(
        host=host, port=port, protocol=2, decode_responses=True, ssl=is_tls, retry=Retry(NoBackoff(), 0), **kept
    )
    try:
        info = replica.info()
    except NoPermissionError:
        return  # the users are there, and this one may not look
    except AuthenticationError:
        text = f"the replica {shown(place)} does not know this user: after a fail-over nobody gets in"
        yield problem("redis.replicas", text, "users are not replicated: `errandry acl --form setuser` for each server")
        return
    except RedisError as error:
        text = f"the replica {shown(place)} cannot be reached from here ({error})"
        yield problem("redis.replicas", text, "after a fail-over this is where all processes connect; let them through")
        return
    finally:
        replica.close()
    assert isinstance(info, dict)
    if info.get("maxmemory_policy") != "noeviction" or not info.get("aof_enabled"):
        text = f"the replica {shown(place)} keeps data less safely than a primary must"
        yield problem("redis.replicas", text, "CONFIG SET appendonly yes and maxmemory-policy noeviction there as well")
