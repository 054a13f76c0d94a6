"""Kills and freezes parts of a fleet at random, and lets it be mended; decides nothing about what that may do."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from tests.support.chaos.fleet import Fleet

_LONGEST_OUTAGE_SECONDS = 1.5


class Saboteur:
    """One fault after another; `mend` puts right what it has broken, when its time has come."""

    def __init__(self, fleet: Fleet, dice: random.Random, *, lease_seconds: float) -> None:
        self._fleet = fleet
        self._dice = dice
        self._frozen_seconds = 2 * lease_seconds
        self._thaw_at: dict[str, float] = {}
        self._revive_at = 0.0
        self._mended_at = 0.0
        self.struck = 0
        self.done: Counter[str] = Counter()

    def strike(self) -> None:
        """Break one thing, if there is anything of that kind to break just now."""
        faults: dict[str, tuple[int, Callable[[], bool]]] = {
            "agent worker killed": (5, lambda: self._with_one_of(self._fleet.workers("agents"), self._fleet.kill)),
            "tool worker killed": (6, lambda: self._with_one_of(self._fleet.tool_workers(), self._fleet.kill)),
            "tool killed": (3, lambda: self._kill_one_of(self._fleet.executions())),
            "sandbox killed": (3, lambda: self._kill_one_of(self._fleet.sandboxes())),
            "server killed": (2, self._kill_server),
            "worker frozen": (2, lambda: self._with_one_of(self._fleet.workers(), self._freeze)),
        }
        fault = self._dice.choices(list(faults), [weight for weight, _ in faults.values()])[0]
        broken = faults[fault][1]()
        self.done[fault] += broken
        self.struck += broken

    def mend(self) -> None:
        """Thaw what has been frozen past its lease, and start again what has ended."""
        now = time.monotonic()
        for name in [name for name, at in self._thaw_at.items() if at <= now]:
            del self._thaw_at[name]
            self._fleet.thaw(name)
        if self._revive_at <= now and self._fleet.mend():
            self._mended_at = now

    def relent(self) -> None:
        """Thaw everything now."""
        for name in self._thaw_at:
            self._thaw_at[name] = 0.0
        self._revive_at = 0.0
        self.mend()

    def _with_one_of(self, names: list[str], action: Callable[[str], object]) -> bool:
        able = [name for name in names if self._fleet.is_up(name)]
        if not able:
            return False
        action(self._dice.choice(able))
        return True

    def _freeze(self, name: str) -> None:
        self._fleet.freeze(name)
        self._thaw_at[name] = time.monotonic() + self._frozen_seconds

    def _kill_one_of(self, pids: list[int]) -> bool:
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._dice.choice(pids), signal.SIGKILL)
        return True

    def _kill_server(self) -> bool:
        if not self._fleet.server.is_alive:
            return False
        self._fleet.kill_server()
        self._revive_at = time.monotonic() + self._dice.uniform(0, _LONGEST_OUTAGE_SECONDS)
        return True
