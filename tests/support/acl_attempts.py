"""What each Redis user has to be refused: commands, and scripts of a pool's own. Sends none of them."""

from __future__ import annotations

from queues import keys
from queues.acl import pool_user

SHELL = pool_user("shell")
RUN = "run_of_somebody"

Command = tuple[str | int, ...]


def of(pool: str) -> str:
    return keys.part(pool, RUN, 1)


BEYOND_A_POOL: list[Command] = [
    # queues and calls of other pools
    ("LPUSH", "tools.python", "x"),
    ("RPUSH", "tools.python", "x"),
    ("BRPOP", "tools.python.high", "0.01"),
    ("LRANGE", "tools.python", 0, -1),
    ("LLEN", "tools.python"),
    ("DEL", "tools.python"),
    ("HGET", of("python"), "answer:a"),
    ("HSET", of("python"), "answer:a", "forged"),
    ("ZREM", keys.pool_due("python"), "x"),
    ("XADD", keys.part_events("python", RUN), "*", "event", "{}"),
    # runs, sessions, and what the trusted side tells
    ("HGET", keys.run(RUN), "snapshot"),
    ("HSET", keys.run(RUN), "status", "COMPLETED"),
    ("HINCRBY", keys.run(RUN), "epoch", 1),
    ("ZRANGE", keys.session("s"), 0, -1),
    ("ZADD", keys.session("s"), 1, RUN),
    ("XADD", keys.events(RUN), "*", "event", "{}"),
    ("XRANGE", keys.events(RUN), "-", "+"),
    ("HSET", keys.people(RUN, 1), "answer:a", "approved"),
    # whether a person let it execute a call, and what they will be asked
    ("HSET", keys.approvals("shell", RUN, 1), "state:a", "approved"),
    ("HGET", keys.approvals("shell", RUN, 1), "request:a"),
    ("ZREM", keys.UNAPPROVED, "x"),
    ("HGET", keys.idempotency("k"), "run_id"),
    ("ZADD", keys.RUNS, 1, RUN),
    ("ZREM", keys.DUE, RUN),
    ("ZADD", keys.DEADLINES, 1, RUN),
    ("HSET", keys.AGENTS, "ops", "9999999999999"),
    ("HSET", keys.DEAD_LETTERS, "x", "{}"),
    ("ZADD", keys.WEBHOOKS, 1, "forged"),
    ("LPUSH", keys.WEBHOOKS_WAKE, "1"),
    # the agents' queue: a hint may be added, and nothing else done
    ("BRPOP", "agents", "0.01"),
    ("LRANGE", "agents.high", 0, -1),
    ("LLEN", "agents"),
    ("RPUSH", "agents", "x"),
    ("DEL", "agents"),
    # orders to workers, and what they tell
    ("PUBLISH", "/0.celery.pidbox", "x"),
    ("PSUBSCRIBE", "/0.celeryev/*"),
    ("SUBSCRIBE", "/0.celery.pidbox"),
    ("BRPOP", "x.reply.celery.pidbox", "0.01"),
    # the server
    ("CONFIG", "GET", "requirepass"),
    ("CONFIG", "SET", "maxmemory", "0"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("RANDOMKEY",),
    ("DBSIZE",),
    ("INFO",),
    ("SELECT", "1"),
    ("SWAPDB", "0", "1"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "pubsub"),
    ("CLIENT", "PAUSE", "1"),
    ("ACL", "LIST"),
    ("ACL", "WHOAMI"),
    ("ACL", "SETUSER", "stranger", "on"),
    ("DEBUG", "SLEEP", "0"),
    ("MODULE", "LIST"),
    ("SLOWLOG", "GET"),
    ("LATENCY", "RESET"),
    ("REPLICAOF", "NO", "ONE"),
    ("SAVE",),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("EVAL", "return 1", "0"),
    ("EVAL_RO", "return 1", "0"),
    # ways round the keys
    ("COPY", of("shell"), "anywhere"),
    ("RENAME", of("shell"), "anywhere"),
    ("RESTORE", of("shell"), "0", "x"),
    ("EXPIRE", of("shell"), "1"),
    ("SORT", of("shell")),
    ("OBJECT", "ENCODING", of("shell")),
    ("MEMORY", "USAGE", of("shell")),
    ("FLUSHDB",),
    ("FLUSHALL",),
    ("MONITOR",),
    ("SHUTDOWN", "ABORT"),
]


SCRIPTS = {
    "reads a snapshot": ("return redis.call('HGET', KEYS[1], 'snapshot')", keys.run(RUN)),
    "reads a key that it does not declare": (f"return redis.call('HGET', '{keys.run(RUN)}', 'snapshot')", of("shell")),
    "takes from the agents' queue": ("return redis.call('RPOP', KEYS[1])", "agents"),
    "reads the agents' queue": ("return redis.call('LRANGE', KEYS[1], 0, -1)", "agents"),
    "pushes to another pool": ("return redis.call('LPUSH', 'tools.python', 'x')", of("shell")),
    "answers a call of another pool": (f"return redis.call('HSET', '{of('python')}', 'answer:a', 'x')", of("shell")),
    "copies a key of its own": ("return redis.call('COPY', KEYS[1], 'anywhere')", of("shell")),
    "gives orders": ("return redis.call('PUBLISH', '/0.celery.pidbox', 'x')", of("shell")),
    "looks for keys": ("return redis.call('KEYS', '*')", of("shell")),
    "empties the server": ("return redis.call('FLUSHALL')", of("shell")),
    "hides it in a protected call": ("local e = redis.pcall('FLUSHALL') if e.err then error(e.err) end", of("shell")),
}


NOBODYS: list[Command] = [
    ("CONFIG", "SET", "maxmemory", "0"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("FLUSHALL",),
    ("MONITOR",),
    ("CLIENT", "KILL", "TYPE", "pubsub"),
    ("ACL", "LIST"),
    ("EVAL", "return 1", "0"),
    ("SHUTDOWN", "ABORT"),
    ("DEBUG", "SLEEP", "0"),
    ("BRPOP", "tools.shell", "0.01"),
    ("LRANGE", "tools.shell", 0, -1),
    ("GET", "anything.else"),
]
BEYOND_AGENTS: list[Command] = [
    *NOBODYS,
    ("PUBLISH", "/0.celery.pidbox", "x"),
    ("DEL", "tools.shell"),
    ("CLIENT", "LIST"),
]
BEYOND_A_PRODUCER: list[Command] = [
    *NOBODYS,
    ("CONFIG", "GET", "requirepass"),
    ("BRPOP", "agents", "0.01"),
    ("LLEN", "agents"),
    ("ZRANGE", keys.session("s"), 0, -1),
    ("HSET", keys.AGENTS, "ops", "9999999999999"),
    ("BRPOP", keys.WEBHOOKS_WAKE, "0.01"),
    ("PUBLISH", "/0.celery.pidbox", "x"),
    ("PUBLISH", "/0.celeryev/worker.heartbeat", "x"),
    ("PSUBSCRIBE", "/0.celeryev/*"),
    ("CLIENT", "LIST"),
    ("INFO",),
]
BEYOND_FLOWER: list[Command] = [
    *NOBODYS,
    ("CONFIG", "GET", "requirepass"),
    ("LPUSH", "agents", "x"),
    ("LPUSH", "tools.shell", "x"),
    ("LRANGE", "agents", 0, -1),
    ("BRPOP", "agents", "0.01"),
    ("HGET", keys.run(RUN), "snapshot"),
    ("HGET", of("shell"), "answer:a"),
    ("PUBLISH", "/0.celeryev/worker.heartbeat", "x"),
    ("CLIENT", "LIST"),
]
BEYOND_THE_OPERATOR: list[Command] = [
    *NOBODYS,
    ("LPUSH", "agents", "x"),
    ("BRPOP", "agents", "0.01"),
    ("HSET", keys.run(RUN), "status", "COMPLETED"),
    ("ZREM", keys.DUE, RUN),
    ("HSET", of("shell"), "answer:a", "forged"),
]
