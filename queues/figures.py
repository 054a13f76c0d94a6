"""All that was counted, and how the pools stand, read for one scrape; some round trips, however much there is.

Reads only. What a pool could have written is read by its known names, and junk is nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import redis.asyncio

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues import keys
from queues.counting import CALLS, Figure, field_of, figure_of, of_a_pool
from queues.scripts import Reply, ScriptCall, areplies

# Of the pools' entries; beyond these, open calls are estimated and further workers are not counted.
_ENTRIES, _ANNOUNCEMENTS = 200, 2000
_LARGEST_DIGITS = 18  # as in lua/measure_pool.lua; a sum of microseconds outgrows less within days
_WITHOUT_POOL = (CallOutcome.DENIED, CallOutcome.EXPIRED)


@dataclass(frozen=True)
class Figures:
    """`runs` by status: how many are in it now, if it is an unfinished one, else how many ended in it so far."""

    runs: Mapping[RunStatus, int] = field(default_factory=dict)
    submitted: int = 0
    counted: Mapping[Figure, int] = field(default_factory=dict)
    open_calls: Mapping[str, int] = field(default_factory=dict)
    tool_workers: Mapping[str, int] = field(default_factory=dict)


async def figures(connection: redis.asyncio.Redis, pools: Sequence[str]) -> Figures:
    """Read everything once."""
    statuses = [status.value for status in RunStatus]
    without_pool = [(pool, outcome.value) for pool in pools for outcome in _WITHOUT_POOL]
    async with connection.pipeline(transaction=False) as asked:
        asked.hmget(
            keys.STATES,
            [*statuses, "submitted", *(keys.answered_without(pool, outcome) for pool, outcome in without_pool)],
        )
        asked.hgetall(keys.COUNTS)
        states, trusted = cast(tuple[list[str | None], dict[str, str]], await asked.execute())
    *in_status, submitted = map(_count, states[: len(statuses) + 1])
    counted: Counter[Figure] = Counter()
    for (pool, outcome), count in zip(without_pool, states[len(statuses) + 1 :], strict=True):
        counted[CALLS.name, pool, outcome] += _count(count)
    for name, count in trusted.items():
        if (figure := figure_of(name)) is not None:
            counted[figure] += _count(count)
    open_calls, workers = {}, {}
    for pool, reply in zip(pools, await areplies(connection, [_measuring(pool) for pool in pools]), strict=True):
        open_calls[pool], workers[pool], told = _measured(pool, reply)
        counted.update(told)
    return Figures(dict(zip(RunStatus, in_status, strict=True)), submitted, counted, open_calls, workers)


def _measuring(pool: str) -> ScriptCall:
    return ScriptCall(
        "measure_pool",
        [keys.counts(pool), keys.pool_due(pool), keys.pool_workers(pool)],
        [_ENTRIES, _ANNOUNCEMENTS, *map(field_of, of_a_pool(pool))],
    )


def _measured(pool: str, reply: Reply | Exception) -> tuple[int, int, dict[Figure, int]]:
    if isinstance(reply, Exception):
        raise reply
    assert isinstance(reply, list)
    open_calls, workers, *told = map(_count, reply)
    return open_calls, workers, dict(zip(of_a_pool(pool), told, strict=True))


def _count(text: str | None) -> int:
    """A count as it is stored; nothing for what is none."""
    is_count = text is not None and text.isascii() and text.isdecimal() and len(text) <= _LARGEST_DIGITS
    return int(text or 0) if is_count else 0
