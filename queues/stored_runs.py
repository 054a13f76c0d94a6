"""A run as it lies in Redis, read from the fields of its hash; changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import redis

from agent_core.errors import RunNotFoundError
from agent_core.run import RunSnapshot, RunStatus
from agent_core.snapshot_log import join
from queues import keys
from queues.replies import fields
from queues.topology import Lane, lane_named

FIELDS = ("snapshot", "logged", "version", "status", "lane", "parked")
"""What `read_run` wants to see of the hash, in this order; then the `log_fields` that these name."""


@dataclass(frozen=True)
class StoredRun:
    """A run: its snapshot with the version and status that count, and its lane."""

    snapshot: RunSnapshot
    lane: Lane


def log_fields(logged: str | None) -> list[str]:
    """The fields that hold the log of a snapshot, whose number of parts is given. What is written there stays."""
    return [f"log:{part}" for part in range(1, int(logged or 0) + 1)]


def read_log(connection: redis.Redis, run_id: str, logged: str | None) -> list[str | None]:
    """The parts of a run's log; asks for nothing where there are none, as of all short runs."""
    names = log_fields(logged)
    return fields(connection, keys.run(run_id), *names) if names else []


def load_run(connection: redis.Redis, run_id: str) -> StoredRun:
    """The run as it is stored now; RunNotFoundError if there is none (or no longer)."""
    found = fields(connection, keys.run(run_id), *FIELDS)
    return read_run(run_id, found, read_log(connection, run_id, found[1]))


def not_found(run_id: str) -> RunNotFoundError:
    """The error for a run of which nothing is stored."""
    return RunNotFoundError(f"there is no run {run_id!r}; finished runs are kept for a limited time only")


def read_run(run_id: str, found: Sequence[str | None], log: Sequence[str | None] = ()) -> StoredRun:
    """The run whose hash holds these `FIELDS` and this log; RunNotFoundError if there is none (or no longer)."""
    stored, _, version, status, lane, parked = found
    if stored is None or version is None or status is None or None in log:
        raise not_found(run_id)
    snapshot = join(stored, log)
    snapshot.version = int(version)
    snapshot.output.status = RunStatus(status)
    if parked is not None:
        snapshot.output.error = parked
    return StoredRun(snapshot, lane_named(lane))
