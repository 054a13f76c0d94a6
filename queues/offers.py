"""What is on offer, as agent workers tell producers: agents, and the tools of pools with their rules.

Only the trusted side tells it, so a pool cannot draw another's calls to itself. A tool is known for a day after it was
told last: a call for one that has gone is answered as failed by its pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import redis
from pydantic import TypeAdapter, ValidationError

from queues import keys
from queues.announcements import Announcement, announced, waiting
from queues.errors import UnknownPoolError, UnknownToolError
from queues.replies import now_ms
from queues.scripts import Argument, Scripts
from queues.timing import milliseconds
from queues.topology import pool_queues

_KNOWN_SECONDS = 24 * 60 * 60.0


@dataclass(frozen=True)
class ToolOffer:
    """Which pool executes a tool, and by which rules; with `approval` only what a person has approved."""

    pool: str
    timeout_seconds: float | None = None
    max_attempts: int = 1
    backoff_seconds: float = 1.0
    on_lost: Literal["report", "retry"] = "report"
    queue_seconds: float | None = None
    approval: bool = False


@dataclass(frozen=True)
class OfferedPool:
    """A pool as producers see it: its tools, the workers that are there, and how many calls wait in each lane."""

    name: str
    tools: tuple[str, ...]
    workers: tuple[Announcement, ...]
    waiting: Mapping[str, int]

    @property
    def concurrency(self) -> int:
        """How many calls it executes at once."""
        return sum(worker.concurrency for worker in self.workers)


_OFFER: TypeAdapter[ToolOffer] = TypeAdapter(ToolOffer)


class Offers:
    """Where agent workers tell, and producers read, what is on offer."""

    def __init__(self, connection: redis.Redis) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)

    def announce_tools(self, tools: Mapping[str, ToolOffer], *, valid_seconds: float = _KNOWN_SECONDS) -> None:
        """Tell which pools execute these tools; a repeat extends that."""
        told: list[Argument] = []
        for name, offer in tools.items():
            told += [name, _OFFER.dump_json(offer, exclude_defaults=True).decode()]
        self._scripts.run("announce_tools", [keys.TOOLS], [milliseconds(valid_seconds), *told])

    def agents(self) -> list[str]:
        """The agents that agent workers offer now, by name."""
        now, told = now_ms(self._connection), cast(dict[str, str], self._connection.hgetall(keys.AGENTS))
        return sorted(name for name, until in told.items() if int(until) > now)

    def tools(self) -> dict[str, ToolOffer]:
        """The tools of all pools, by name. What a newer release tells and this one cannot read is left out."""
        now, told = now_ms(self._connection), cast(dict[str, str], self._connection.hgetall(keys.TOOLS))
        found: dict[str, ToolOffer] = {}
        for name, words in sorted(told.items()):
            until, _, offer = words.partition(" ")
            if int(until) > now and (read := _read(offer)) is not None:
                found[name] = read
        return found

    def pools(self) -> list[OfferedPool]:
        """The pools that have those tools, by name."""
        by_pool: dict[str, list[str]] = {}
        for name, offer in self.tools().items():
            by_pool.setdefault(offer.pool, []).append(name)
        return [
            OfferedPool(
                name=pool,
                tools=tuple(tools),
                workers=tuple(announced(self._connection, pool)),
                waiting=waiting(self._connection, pool_queues(pool)),
            )
            for pool, tools in sorted(by_pool.items())
        ]

    def find(self, tool_name: str, *, pool: str | None) -> ToolOffer:
        """Who executes a call of the tool, in this pool if one is named.

        UnknownToolError or UnknownPoolError, which say what is known. A tool that its pool does not tell is left to
        the pool, and so is a pool while nobody tells of any.
        """
        tools = self.tools()
        offer = tools.get(tool_name)
        if offer is not None and pool in (None, offer.pool):
            return offer
        pools = {known.pool: known for known in tools.values()}
        if pool is None:
            known = f"known are {', '.join(tools)}" if tools else "no agent worker has told of any; name its pool="
            raise UnknownToolError(f"no pool is known to execute {tool_name!r}; {known}")
        if pools and pool not in pools:
            raise UnknownPoolError(f"there is no pool {pool!r}; known are {', '.join(sorted(pools))}")
        like = pools.get(pool, ToolOffer(pool))
        return ToolOffer(pool, queue_seconds=like.queue_seconds, approval=like.approval)


def _read(offer: str) -> ToolOffer | None:
    try:
        return _OFFER.validate_json(offer)
    except ValidationError:
        return None
