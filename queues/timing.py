"""How long things are held, repeated and kept; one frozen value that every store of the floor shares."""

from __future__ import annotations

from dataclasses import dataclass

_DAY_SECONDS = 24 * 60 * 60
_LONGEST_HEARTBEAT_SECONDS = 3.5


@dataclass(frozen=True)
class Timing:
    """Durations in seconds. A lease is renewed three times or more before it would run out."""

    lease_seconds: float = 10.0
    repush_seconds: float = 5.0  # a message nobody acted on is published again after this, then ever more rarely
    retention_seconds: float = 7 * _DAY_SECONDS  # how long a finished run is kept
    answered_seconds: float = 3600.0  # how long late copies of an answered call still learn that it is settled
    people_seconds: float = 7 * _DAY_SECONDS  # how long a run waits for people before it expires
    parked_seconds: float = 10.0  # how long until another worker is offered a run that this one cannot carry on

    @classmethod
    def of_lease(cls, lease_seconds: float) -> Timing:
        """The timing of workers: with a short lease lost messages are looked for sooner, too."""
        usual = cls()
        share = lease_seconds / usual.lease_seconds
        return cls(
            lease_seconds=lease_seconds,
            repush_seconds=min(usual.repush_seconds, usual.repush_seconds * share),
            parked_seconds=min(usual.parked_seconds, usual.parked_seconds * share),
        )

    @property
    def heartbeat_seconds(self) -> float:
        """The pause between two renewals of a lease; a cancellation is noticed as late as that, whatever the lease."""
        return min(self.lease_seconds / 3, _LONGEST_HEARTBEAT_SECONDS)


def milliseconds(seconds: float) -> int:
    """Redis counts in whole milliseconds."""
    return round(seconds * 1000)
