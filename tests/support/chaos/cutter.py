"""A saboteur who also cuts hosts off, for a second up to longer than leases and than connections wait for an answer."""

from __future__ import annotations

import random
import threading

from tests.support.chaos.hosted import AGENTS, STORE, TOOLS, HostedFleet
from tests.support.chaos.saboteur import Saboteur

_CUTS = {"agents cut off": (AGENTS,), "tools cut off": (TOOLS,), "agents and tools cut off": (AGENTS, TOOLS),
         "store cut off": (STORE,)}  # fmt: skip
_WEIGHTS = (3, 3, 2, 2)
# Shorter than about two leases; up to the time that a connection waits for an answer (10 s); longer than that.
_SECONDS, _LIKELY = ((1.0, 5.0), (5.0, 11.0), (11.0, 16.0)), (6, 3, 2)
_BREATH_SECONDS = 1.0  # between two starts of a worker that cannot reach the store


class Cutter(Saboteur):
    """One cut at a time, healed by a clock of its own; `share` of all faults are cuts."""

    def __init__(self, fleet: HostedFleet, dice: random.Random, *, lease_seconds: float, share: float) -> None:
        super().__init__(fleet, dice, lease_seconds=lease_seconds)
        self._hosts = fleet.hosts
        self._share = share
        self._clock: threading.Timer | None = None

    def strike(self) -> None:
        if self._dice.random() < self._share:
            self._cut()
        else:
            super().strike()

    def mend(self) -> None:
        if self._hosts.cut_off:
            # What starts now may end at once, and is not started without a pause again.
            self._revive_at = max(self._revive_at, self._mended_at + _BREATH_SECONDS)
        super().mend()

    def relent(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock.join()
        self._heal()
        super().relent()

    def _cut(self) -> None:
        if self._hosts.cut_off:
            return
        what = self._dice.choices(list(_CUTS), _WEIGHTS)[0]
        how = self._dice.choice(("silent", "silent", "unplugged") if STORE in _CUTS[what] else
                                ("silent", "silent", "unplugged", "deaf"))  # fmt: skip
        seconds = self._dice.uniform(*self._dice.choices(_SECONDS, _LIKELY)[0])
        for host in _CUTS[what]:
            self._hosts.cut(host, how)
        self.struck += 1
        self.done[what] += 1
        self.done[f"cuts that were {how}"] += 1
        self._clock = threading.Timer(seconds, self._heal)
        self._clock.start()

    def _heal(self) -> None:
        for host in self._hosts.cut_off:
            self._hosts.heal(host)
