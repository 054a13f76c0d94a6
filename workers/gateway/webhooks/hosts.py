"""Fairness among the hosts that webhooks are posted to: one that is slow or dead holds up nobody but itself.

It knows what one gateway saw of them lately; it stores nothing and posts nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_SHORTEST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 300.0
_FAILURES_TO_REST = 3  # in a row: one connection that is lost is no dead host
_FIRST_REST_SECONDS = 5.0
_LONGEST_REST_SECONDS = 60.0


@dataclass
class _Host:
    busy: int = 0
    took_seconds: float = 0.0  # by the last delivery
    next_place: float = 0.0  # when the next delivery that finds no room here should be looked at again
    failures: int = 0  # in a row, without any answer
    rests_until: float = 0.0
    reason: str = ""


class Hosts:
    """How many deliveries to each host are under way, and which hosts do not answer at all."""

    def __init__(self, *, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`at_once` is for each host."""
        self._at_once = at_once
        self._clock = clock
        self._hosts: dict[str, _Host] = {}

    def wait_seconds(self, host: str) -> float:
        """0 if a delivery may begin; else for how long to put it off.

        Each gets a place of its own, as far apart as the host seems to need, so that a long line of them does not come
        back at one moment, again and again.
        """
        found = self._hosts.get(host)
        if found is None:
            return 0.0
        # One that seems dead is asked by one delivery at a time.
        room = 1 if found.failures >= _FAILURES_TO_REST else self._at_once
        if found.busy < room:
            return 0.0
        now = self._clock()
        place = max(found.next_place, now + _SHORTEST_WAIT_SECONDS)
        apart = max(found.took_seconds, _SHORTEST_WAIT_SECONDS) / room
        found.next_place = min(place + apart, now + _LONGEST_WAIT_SECONDS)
        return place - now

    def resting(self, host: str) -> str | None:
        """Why the host is not asked just now: it gave no answer a moment ago. None if it may be asked."""
        found = self._hosts.get(host)
        return found.reason if found is not None and found.rests_until > self._clock() else None

    def begin(self, host: str) -> None:
        """A delivery holds a place, until `end`."""
        self._hosts.setdefault(host, _Host()).busy += 1

    def end(self, host: str, *, took_seconds: float | None = None) -> None:
        """Its place is free again; without `took_seconds` it came to nothing."""
        found = self._hosts[host]
        found.busy -= 1
        if took_seconds is not None:
            found.took_seconds = took_seconds

    def answered(self, host: str) -> None:
        """The host answered, whatever it said."""
        if (found := self._hosts.get(host)) is not None:
            found.failures, found.rests_until = 0, 0.0

    def gave_no_answer(self, host: str, reason: str) -> None:
        """The host could not be reached, or did not answer in time: after a few such in a row it rests, ever longer."""
        found = self._hosts.setdefault(host, _Host())
        found.failures += 1
        found.reason = reason
        if found.failures >= _FAILURES_TO_REST:
            longer = 2 ** min(found.failures - _FAILURES_TO_REST, 10)
            found.rests_until = self._clock() + min(_FIRST_REST_SECONDS * longer, _LONGEST_REST_SECONDS)

    def forget_the_quiet(self) -> None:
        """Let go of hosts that were not asked for a while, so that names that come once do not pile up."""
        now = self._clock()
        self._hosts = {
            name: host
            for name, host in self._hosts.items()
            if host.busy or host.rests_until > now - _LONGEST_REST_SECONDS
        }
