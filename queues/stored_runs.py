"""A run as it lies in Redis, read from the fields of its hash; asks for nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent_core.errors import RunNotFoundError
from agent_core.run import RunSnapshot, RunStatus
from queues.topology import Lane, lane_named

FIELDS = ("snapshot", "version", "status", "lane", "parked")
"""What `read_run` wants to see of the hash, in this order."""


@dataclass(frozen=True)
class StoredRun:
    """A run: its snapshot with the version and status that count, and its lane."""

    snapshot: RunSnapshot
    lane: Lane


def read_run(run_id: str, found: Sequence[str | None]) -> StoredRun:
    """The run whose hash holds these `FIELDS`; RunNotFoundError if there is no such hash (or no longer)."""
    stored, version, status, lane, parked = found
    if stored is None or version is None or status is None:
        raise RunNotFoundError(f"there is no run {run_id!r}; finished runs are kept for a limited time only")
    snapshot = RunSnapshot.from_json(stored)
    snapshot.version = int(version)
    snapshot.output.status = RunStatus(status)
    if parked is not None:
        snapshot.output.error = parked
    return StoredRun(snapshot, lane_named(lane))
