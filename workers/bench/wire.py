"""What a server has been asked so far, and what it has spent on it, by its own counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis


@dataclass(frozen=True)
class Wire:
    """Counters of a server. Small requests that come together are read at one go: a read is a round trip."""

    round_trips: int
    bytes_in: int
    bytes_out: int
    cpu_seconds: float

    @classmethod
    def of(cls, connection: redis.Redis) -> Wire:
        """The counters now."""
        stats: dict[str, Any] = connection.info("stats")
        cpu: dict[str, Any] = connection.info("cpu")
        return cls(
            round_trips=int(stats["total_reads_processed"]),
            bytes_in=int(stats["total_net_input_bytes"]),
            bytes_out=int(stats["total_net_output_bytes"]),
            cpu_seconds=float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
        )

    def since(self, earlier: Wire) -> Wire:
        """What was added since then."""
        return Wire(
            self.round_trips - earlier.round_trips,
            self.bytes_in - earlier.bytes_in,
            self.bytes_out - earlier.bytes_out,
            self.cpu_seconds - earlier.cpu_seconds,
        )
