"""How much waits, and since when, counted cheaply: lengths of queues and indexes, never a walk through them.

Reads only, and what it cannot read it leaves out: a pool can write anything onto its own queue.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass

import redis.asyncio
from redis.exceptions import ResponseError

from queues import keys
from queues.topology import LANES, Lane, agents_queue, pool_queue


@dataclass(frozen=True)
class Backlog:
    """What the store holds at one moment.

    `waiting` counts messages by queue and lane, the agents' queue under the name None; `oldest_seconds` is how long the
    call at the head of a pool's queues has waited, for pools where one waits.
    """

    waiting: dict[tuple[str | None, Lane], int]
    oldest_seconds: dict[str, float]
    runs_kept: int
    runs_finished: int
    dead_letters: int
    webhooks_waiting: int
    agents_announced: int


async def backlog(connection: redis.asyncio.Redis, pools: Sequence[str]) -> Backlog:
    """Count once; two round trips, however much there is."""
    lanes: list[tuple[str | None, Lane]] = [(pool, lane) for pool in (None, *pools) for lane in LANES]
    async with connection.pipeline(transaction=False) as asked:
        asked.time()
        asked.zcard(keys.RUNS)
        asked.zcard(keys.EXPIRING)
        asked.zcard(keys.DEAD)
        asked.zcard(keys.WEBHOOKS)
        asked.hgetall(keys.AGENTS)
        for pool, lane in lanes:
            asked.llen(agents_queue(lane) if pool is None else pool_queue(pool, lane))
        for pool in pools:
            for lane in LANES:
                asked.lindex(pool_queue(pool, lane), -1)
        (seconds, microseconds), runs, finished, dead, webhooks, agents, *rest = await asked.execute()
    now_ms = seconds * 1000 + microseconds // 1000
    heads = rest[len(lanes) :]
    of_pool = {pool: heads[place * len(LANES) :][: len(LANES)] for place, pool in enumerate(pools)}
    return Backlog(
        waiting=dict(zip(lanes, map(int, rest), strict=False)),
        oldest_seconds=await _oldest(connection, of_pool, now_ms),
        runs_kept=runs,
        runs_finished=finished,
        dead_letters=dead,
        webhooks_waiting=webhooks,
        agents_announced=sum(int(until) > now_ms for until in agents.values() if until.isdecimal()),
    )


async def _oldest(connection: redis.asyncio.Redis, heads: dict[str, list[str | None]], now_ms: int) -> dict[str, float]:
    """Since when the first call of each pool waits; its message names the call, the call's part knows the time."""
    places = [
        (pool, place) for pool, messages in heads.items() for message in messages if (place := _call_of(pool, message))
    ]
    if not places:
        return {}
    async with connection.pipeline(transaction=False) as asked:
        for _, (part, field) in places:
            asked.hget(part, field)
        times = await asked.execute(raise_on_error=False)
    found: dict[str, float] = {}
    for (pool, _), queued in zip(places, times, strict=True):
        if isinstance(queued, str) and queued.isdecimal():
            found[pool] = max(found.get(pool, 0.0), (now_ms - int(queued)) / 1000)
        elif isinstance(queued, Exception) and not isinstance(queued, ResponseError):
            raise queued
    return found


def _call_of(pool: str, message: str | None) -> tuple[str, str] | None:
    """The part's key, and the field of the time, of the call that a message is about; None if it is none of ours."""
    try:
        (run_id, step, tool_call_id), *_ = json.loads(b64decode(json.loads(message or "")["body"]))
        part, field = keys.part(pool, str(run_id), int(step)), f"queued:{tool_call_id}"
        f"{part}{field}".encode()  # half a character cannot be asked for
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
    return part, field
