"""Which Redis user each kind of process has, and what that user may do: rules made from our own keys and queues.

It connects to nothing and knows no password. The rules are for Redis 7 or newer and Valkey, because they tell readers
from writers and give each group of keys commands of its own (selectors).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from queues import keys
from queues.connections import Durability
from queues.topology import agents_queues, pool_queue, pool_queues

PREFIX = "errandry-"
ADMIN = f"{PREFIX}admin"  # of an embedded server only: whoever owns the server may do everything
AGENTS = f"{PREFIX}agents"
FLOWER = f"{PREFIX}flower"
GATEWAY = f"{PREFIX}gateway"
OPERATOR = f"{PREFIX}operator"
PRODUCER = f"{PREFIX}producer"
SCALER = f"{PREFIX}scaler"
_POOL = f"{PREFIX}pool-"

_CONNECTION = "+ping +client|setname +client|setinfo"
# EVAL is not among them, but a loaded script is as good: scripts run with the rights of their caller, so they reach no
# further than the commands that stand here.
_SCRIPTS = "+script|load +script|exists +time"
_TRANSACTIONS = "+multi +exec"

_CALL_STATE = "+hget +hmget +hset +hdel +hexists +hincrby +zadd +zrem +xadd +pexpire"
_RUN_STATE = (
    f"{_CALL_STATE} +hgetall +exists +persist +copy +rename +zrange +zrevrange +zrevrank +zscore +xlen +xrange"
    " +xrevrange"
)
_AGENT_STATE = f"{_RUN_STATE} +del +zrangebyscore +zremrangebyscore +zcard +lpush +ltrim +lrange +lrem"
_READING = "+hget +hmget +hgetall +zrange +zrevrange +zscore +zcard +zcount +xread +xrange +xrevrange"

_CONFIRMATION: dict[Durability, tuple[str, ...]] = {"everysec": (), "fsync": ("+waitaof",), "replica": ("+wait",)}


@dataclass(frozen=True)
class Role:
    """A Redis user of ours: its name, whose it is, and its rules, without a password."""

    user: str
    title: str
    rules: tuple[str, ...]

    def setuser(self, password: str) -> str:
        """What follows `ACL SETUSER` or, in an ACL file, `user`: name and rules, with the hash of the password."""
        digest = hashlib.sha256(password.encode()).hexdigest()
        # Without `reset` a user that is set anew would keep what it had been granted before.
        return f"{self.user} reset on sanitize-payload #{digest} {' '.join(self.rules)}"


def pool_user(pool: str) -> str:
    """The user of a pool's tool workers."""
    return f"{_POOL}{pool}"


def roles(
    pools: Sequence[str],
    *,
    http_pools: Sequence[str] = (),
    database: int = 0,
    durability: Durability = "everysec",
) -> list[Role]:
    """All users of a project with these pools, whose Redis is the database of that number.

    Those in `http_pools` have no tool workers and so no user: the gateway takes their calls. Whoever submits runs may
    wait for what `durability` asks for: the server's disk needs Redis 7.2 or Valkey.
    """
    broker = _Broker(database)
    return [
        Role(AGENTS, "agent workers", broker.connection + _agents(broker)),
        *(
            Role(pool_user(pool), f"tool workers of pool {pool}", broker.connection + _pool(broker, pool))
            for pool in pools
            if pool not in http_pools
        ),
        Role(PRODUCER, "whoever submits runs", broker.connection + _producer(durability)),
        Role(GATEWAY, "the HTTP gateway", broker.connection + _gateway(durability, pools, http_pools)),
        Role(FLOWER, "Flower", broker.connection + broker.watching(pools)),
        Role(OPERATOR, "errandry doctor", broker.connection + _operator(broker, pools)),
        Role(SCALER, "KEDA", broker.connection + _scaler(pools)),
    ]


def admin(password: str) -> str:
    """The user that owns an embedded server, as `Role.setuser` writes it."""
    return Role(ADMIN, "the owner of the server", ("~*", "&*", "+@all")).setuser(password)


class _Broker:
    """What Kombu and Celery send, for the database that they use: its number stands in the names of their channels."""

    def __init__(self, database: int) -> None:
        self.connection: tuple[str, ...] = ("resetchannels", "resetkeys", "-@all", *_CONNECTION.split())
        if database:
            self.connection += (f"+select|{database}",)
        self._events = f"&/{database}.celeryev/*"
        self._control = f"&/{database}.celery.pidbox"

    def consuming(self, lanes: Sequence[str]) -> tuple[str, ...]:
        """A worker: takes messages from its lanes or gives them back, tells events, hears and answers inspections.

        It may not send remote control itself, nor hear the events of others.
        """
        return (
            *_TRANSACTIONS.split(),
            *_SCRIPTS.split(),
            _selector("+brpop +rpush +llen", *lanes),
            f"(+publish {self._events})",
            f"(+psubscribe +punsubscribe {self._control})",
            # A queue that stays empty, since remote control comes by the channel above; Kombu clears it at the start.
            _selector("+llen +del", "*@*.celery.pidbox"),
            *_binding("celery.pidbox"),
            # Read only: whom this table names, all workers send their answers to.
            _selector("+smembers", "%R~_kombu.binding.reply.celery.pidbox"),
            _selector("+lpush", "%W~*.reply.celery.pidbox"),
        )

    def asking(self) -> tuple[str, ...]:
        """Whoever sends remote control and reads the answers. Redis cannot tell an inspection from an order."""
        return (
            *_TRANSACTIONS.split(),
            *_SCRIPTS.split(),
            f"(+publish {self._control})",
            _selector("+brpop +llen +del", "*.reply.celery.pidbox"),
            *_binding("reply.celery.pidbox"),
        )

    def watching(self, pools: Sequence[str]) -> tuple[str, ...]:
        """Flower: asks, hears the events of all, and counts what waits in the queues."""
        return (
            *self.asking(),
            f"(+psubscribe +punsubscribe {self._events})",
            *_binding("celeryev"),
            _selector("+llen +del", "celeryev.*"),
            _selector("+llen", *(f"%R~{queue}" for queue in _all_queues(pools))),
        )


def _agents(broker: _Broker) -> tuple[str, ...]:
    """Carries runs on and sweeps, so all runs and all parts are its own; of the pools' queues it may only add to."""
    return (
        *broker.consuming(agents_queues()),
        _selector(f"{_AGENT_STATE} +evalsha", "errandry:*"),
        _selector("+evalsha", "errandry:*", *agents_queues(), pool_queue("*")),
        _selector("+lpush", *(f"%W~{queue}" for queue in (*agents_queues(), pool_queue("*")))),
        _selector("+llen", f"%R~{pool_queue('*')}"),
    )


def _pool(broker: _Broker, pool: str) -> tuple[str, ...]:
    """Takes, executes and settles calls of its own pool; of the agents' queue it may only add to."""
    own = keys.part_prefix(pool) + "*"
    return (
        *broker.consuming(pool_queues(pool)),
        _selector(f"{_CALL_STATE} +lpush +ltrim +exists", own),
        # The script that settles a call names the agents' queue; inside it each command is checked on its own.
        _selector("+evalsha", own, *agents_queues()),
        _selector("+lpush", *(f"%W~{queue}" for queue in agents_queues())),
    )


def _producer(durability: Durability) -> tuple[str, ...]:
    """Submits, reads, cancels, retries and answers; consumes nothing, and announces no agents."""
    own = [f"{key}*" for key in keys.PRODUCERS_PREFIXES] + list(keys.PRODUCERS_KEYS)
    return (
        *_SCRIPTS.split(),
        *_CONFIRMATION[durability],
        _selector(f"{_RUN_STATE} +xread", *own),
        _selector("+hgetall", f"%R~{keys.AGENTS}", f"%R~{keys.TOOLS}"),
        _selector("+evalsha", *own, keys.AGENTS, keys.STATES, *agents_queues(), pool_queue("*")),
        _selector("+hincrby +hset", keys.STATES),
        _selector("+lpush", *(f"%W~{queue}" for queue in (*agents_queues(), pool_queue("*")))),
        _selector("+llen", f"%R~{pool_queue('*')}"),
        _selector("+lpush +ltrim", keys.WEBHOOKS_WAKE),
    )


def _gateway(durability: Durability, pools: Sequence[str], http_pools: Sequence[str]) -> tuple[str, ...]:
    """A producer that also delivers what runs announce, counts what waits and how long the first has, and takes the
    calls of pools that are served over HTTP.
    """
    return (
        *_producer(durability),
        _selector("+brpop", keys.WEBHOOKS_WAKE),
        _selector("+zcard", *(f"%R~{key}" for key in (keys.RUNS, keys.EXPIRING, keys.DEAD, keys.WEBHOOKS))),
        _selector("+hgetall +hmget", f"%R~{keys.STATES}", f"%R~{keys.COUNTS}"),
        _selector("+zcard +zrandmember", f"%R~{keys.pool_due('*')}"),
        # Messages hold ids only, and the gateway is trusted with all runs.
        _selector("+llen +lindex", *(f"%R~{queue}" for queue in _all_queues(pools))),
        *(rule for pool in http_pools for rule in _for_executors(pool)),
        *([_selector("+evalsha +hget +hset +hincrby +pexpire", f"{keys.COUNTS}*")] if http_pools else []),
    )


def _for_executors(pool: str) -> tuple[str, ...]:
    """What it takes to serve a pool in the name of its executors, beyond what a producer may do with its parts."""
    return (
        "+multi +exec",
        _selector("+brpop +rpush", *pool_queues(pool)),
        _selector("+lpush +ltrim", keys.refused(pool)),
    )


def _operator(broker: _Broker, pools: Sequence[str]) -> tuple[str, ...]:
    """Looks at everything that the doctor looks at, and changes nothing but its own inbox."""
    return (
        *broker.watching(pools),
        # CONFIG GET would also show passwords that stand in the server's configuration; ACL files keep them out of it.
        *("+info", "+config|get", "+client|list", "+acl|whoami"),
        _selector(_READING, "%R~errandry:*"),
    )


def _scaler(pools: Sequence[str]) -> tuple[str, ...]:
    """Counts what waits for the pools, as KEDA does it: by EVAL, for which Redis asks more than the right to read."""
    queues = [queue for pool in pools for queue in pool_queues(pool)]
    return ("+hello", *([_selector("+eval +type +llen", *queues)] if queues else []))


def _binding(exchange: str) -> tuple[str, ...]:
    """Kombu's note of who listens to an exchange; whoever listens also clears away the notes of those long gone."""
    own = (f"_kombu.binding.{exchange}", f"_kombu.binding_permanent.{exchange}")
    return (
        _selector("+sadd +srem +smembers", *own),
        _selector("+evalsha +zadd +zrem +zrangebyscore", *own, "_kombu.binding_deadlines"),
        _selector("+exists +del", "_kombu.binding.*", "_kombu.binding_permanent.*"),
    )


def _all_queues(pools: Sequence[str]) -> list[str]:
    return [*agents_queues(), *(queue for pool in pools for queue in pool_queues(pool))]


def _selector(commands: str, *patterns: str) -> str:
    """Commands for these keys only. A pattern without a mark is for reading and writing."""
    marked = (pattern if pattern.startswith("%") else f"~{pattern}" for pattern in patterns)
    return f"({commands} {' '.join(marked)})"
