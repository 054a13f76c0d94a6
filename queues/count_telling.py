"""Tells Redis what a process has counted, so that a gateway can show it; counts nothing itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

import redis

from queues import keys
from queues.counting import Figure, field_of
from queues.scripts import Argument, Scripts
from queues.timing import milliseconds

# How far a process has told is remembered for so long after it was heard of last: longer than any outage should be.
_REMEMBERED_SECONDS = 24 * 60 * 60.0

_log = logging.getLogger(__name__)


class CountTeller:
    """Adds what `take` gives to the figures of a pool's workers, or of agent workers and gateways (`pool` None).

    `process` is a name that no other process ever bears. Safe to use from several threads.
    """

    def __init__(
        self, connection: redis.Redis, *, pool: str | None, process: str, take: Callable[[], Mapping[Figure, int]]
    ) -> None:
        self._scripts = Scripts(connection)
        self._keys = [keys.counts(pool), keys.counted(pool, process)]
        self._take = take
        self._telling = threading.Lock()
        self._untold: Mapping[Figure, int] = {}
        self._number = 1

    def tell(self) -> bool:
        """Add what was counted since the last time; False if Redis does not take it, and then it comes with the next.

        Each telling has a number, under which it is added once, however often it is sent.
        """
        with self._telling:
            try:
                while counted := self._untold or self._take():
                    self._untold = counted
                    self._add(counted)
                    self._untold, self._number = {}, self._number + 1
            except redis.RedisError as error:
                _log.warning("figures could not be told: %s", type(error).__name__)
                return False
        return True

    def _add(self, counted: Mapping[Figure, int]) -> None:
        arguments: list[Argument] = [self._number, milliseconds(_REMEMBERED_SECONDS)]
        for figure, amount in counted.items():
            arguments += [field_of(figure), amount]
        self._scripts.run("add_counts", self._keys, arguments)
