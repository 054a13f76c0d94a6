"""How long things are held, repeated and kept; one frozen value that every store of the floor shares."""

from __future__ import annotations

from dataclasses import dataclass

_DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Timing:
    """Durations in seconds. A lease is renewed three times before it would run out."""

    lease_seconds: float = 10.0
    repush_seconds: float = 5.0  # a message nobody acted on is published again after this, then ever more rarely
    retention_seconds: float = 7 * _DAY_SECONDS  # how long a finished run is kept
    answered_seconds: float = 3600.0  # how long late copies of an answered call still learn that it is settled
    people_seconds: float = 7 * _DAY_SECONDS  # how long a run waits for people before it expires
    parked_seconds: float = 10.0  # how long until another worker is offered a run that this one cannot carry on

    @property
    def heartbeat_seconds(self) -> float:
        """The pause between two renewals of a lease."""
        return self.lease_seconds / 3


def milliseconds(seconds: float) -> int:
    """Redis counts in whole milliseconds."""
    return round(seconds * 1000)
