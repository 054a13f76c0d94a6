"""Who serves agents and pools: what workers announced, and what they say they consume; starts and stops nobody."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import redis
from celery.exceptions import DuplicateNodenameWarning
from kombu.exceptions import OperationalError
from redis.exceptions import ResponseError

from queues import keys
from queues.announcements import announced
from queues.celery_app import watching_app
from queues.checkup import Finding, counted, ok, problem, warning
from queues.errors import StoreRefusedError, StoreUnreachableError
from queues.replies import now_ms
from queues.settings import Settings
from queues.topology import agents_queues, pool_queues

Consumers = Mapping[str, Sequence[str]]
"""Queue -> the workers that consume it."""


def ask_consumers(settings: Settings, *, within_seconds: float = 1.5) -> Consumers:
    """What each worker that answers in time consumes; always takes the whole time. The settings hold a `redis_url`.

    StoreRefusedError if the user may not talk to workers, StoreUnreachableError if Redis is away.
    """
    app = watching_app(settings)
    try:
        with app.connection_for_write() as connection, warnings.catch_warnings():
            # Two workers of one name are one entry, which does for the question whether there is any.
            warnings.simplefilter("ignore", DuplicateNodenameWarning)
            replies = app.control.inspect(timeout=within_seconds, connection=connection).active_queues()
    except (redis.RedisError, OperationalError) as error:
        # Kombu wraps some of what Redis says into an error of its own.
        if isinstance(error.__cause__ or error, ResponseError):
            raise StoreRefusedError(f"the workers cannot be asked ({error})") from error
        raise StoreUnreachableError(f"the workers cannot be asked: {error}") from error
    finally:
        app.close()
    found: dict[str, list[str]] = {}
    for worker, queues in sorted((replies or {}).items()):
        # A worker can answer anything; what it does not say in the usual way it has not said.
        for queue in queues if isinstance(queues, list) else ():
            if isinstance(queue, dict):
                found.setdefault(str(queue.get("name")), []).append(worker)
    return found


def agent_findings(connection: redis.Redis, agents: Sequence[str]) -> Iterator[Finding]:
    """Whether agent workers have announced each of these agents, and are still there."""
    announced = cast(dict[str, str], connection.hgetall(keys.AGENTS))
    now = now_ms(connection)
    missing = [agent for agent in sorted(agents) if int(announced.get(agent, 0)) <= now]
    if missing:
        start = "start `errandry agent-worker` with this errandry.toml, or all with `errandry up`"
        yield problem("agents.announced", f"no agent worker offers {', '.join(missing)}", start)
    else:
        yield ok("agents.announced", f"on offer: {', '.join(sorted(agents))}")


def consumer_findings(connection: redis.Redis, pools: Sequence[str], consumers: Consumers) -> Iterator[Finding]:
    """Whether somebody consumes the agents' lanes and those of each pool, and how much waits there."""
    yield _finding("workers.agents", "agent worker", agents_queues(), "errandry agent-worker", connection, consumers)
    for pool in pools:
        start = f"errandry tool-worker --pool {pool}"
        yield _finding(
            f"workers.{pool}", f"tool worker of pool {pool}", pool_queues(pool), start, connection, consumers
        )


def executor_findings(connection: redis.Redis, pools: Sequence[str]) -> Iterator[Finding]:
    """Whether executors have asked the gateway for calls of each of these pools lately, and how much waits there."""
    for pool in pools:
        waits = _waits(connection, pool_queues(pool))
        names = [executor.worker for executor in announced(connection, pool)]
        if names:
            yield ok(f"workers.{pool}", f"{', '.join(names)}, over HTTP; {waits}")
        else:
            start = "start an executor that asks `errandry gateway` for its calls (deploy/http-executors.md)"
            yield problem(f"workers.{pool}", f"no executor has asked for calls of pool {pool} lately; {waits}", start)


def _finding(
    subject: str, kind: str, queues: Sequence[str], start: str, connection: redis.Redis, consumers: Consumers
) -> Finding:
    waits = _waits(connection, queues)
    served = [set(consumers.get(queue, ())) for queue in queues]
    workers = sorted(set.union(*served))
    if not workers:
        return problem(
            subject, f"no {kind} answers; {waits} in its queues", f"start `{start}`, or all with `errandry up`"
        )
    if deaf := [queue for queue, who in zip(queues, served, strict=True) if not who]:
        return warning(subject, f"nobody consumes {', '.join(deaf)}", f"start `{start}` of this release")
    return ok(subject, f"{', '.join(workers)}; {waits}")


def _waits(connection: redis.Redis, queues: Sequence[str]) -> str:
    waiting = sum(int(connection.llen(queue)) for queue in queues)
    return f"{counted(waiting, 'message')} {'waits' if waiting == 1 else 'wait'}"
