"""What kind of server answers: one that can keep runs, a node of a cluster, a Sentinel. Decides nothing."""

from __future__ import annotations

import redis
from redis.exceptions import ResponseError

CLUSTER = "cluster"
UNFIT = {
    CLUSTER: (
        "is a node of a Redis Cluster, which cannot keep runs: a run's state, the indexes and the queues change in one "
        "step, and a cluster tears them apart. Set cluster-enabled no there, or name another server, alone or behind "
        "Sentinel, in redis_url (or ERRANDRY_REDIS_URL)."
    ),
    "sentinel": (
        "is a Sentinel, which keeps no data; have it lead to its primary with "
        "redis+sentinel://user:password@h1:26379,h2:26379/mymaster/0 as redis_url (or ERRANDRY_REDIS_URL)."
    ),
}
"""Why a server of that mode cannot be the store; a sentence goes on with it behind the server's address."""


def mode_of(connection: redis.Redis) -> str:
    """In the server's own word; '' if it does not say. Every user may ask, whatever its rules."""
    try:
        told = connection.execute_command("HELLO")  # type: ignore[no-untyped-call]
    except ResponseError:
        return ""
    return str(dict(zip(told[::2], told[1::2], strict=True)).get("mode", ""))
