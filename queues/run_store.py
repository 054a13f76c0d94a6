"""`RunStore` in Redis: snapshots with compare-and-set, for agents that run in plain processes and share runs.

The queue writes the same records under a stricter rule, a claim; this store never publishes anything.
"""

from __future__ import annotations

import redis

from agent_core.errors import StaleRunError
from agent_core.run import RunSnapshot
from agent_core.snapshot_log import join, split
from queues import keys
from queues.connections import connect
from queues.replies import fields, newest
from queues.scripts import Scripts
from queues.stored_runs import read_log
from queues.timing import Timing, milliseconds


class RedisRunStore:
    """Runs in Redis. A run paused in one process continues in another that is given the same store."""

    def __init__(self, url: str, *, timing: Timing | None = None) -> None:
        self._open(connect(url), timing or Timing())

    @classmethod
    def on(cls, connection: redis.Redis, *, timing: Timing) -> RedisRunStore:
        """The store on a connection that the caller already has."""
        store = cls.__new__(cls)
        store._open(connection, timing)
        return store

    def _open(self, connection: redis.Redis, timing: Timing) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._timing = timing

    def load(self, run_id: str) -> RunSnapshot | None:
        """The snapshot as it was saved last, or None."""
        stored, version, logged = fields(self._connection, keys.run(run_id), "snapshot", "version", "logged")
        if stored is None or version is None:
            return None
        log = read_log(self._connection, run_id, logged)
        if None in log:
            return None  # it has just expired
        snapshot = join(stored, log)
        snapshot.version = int(version)
        return snapshot

    def save(self, snapshot: RunSnapshot, *, expected_version: int) -> RunSnapshot:
        """Store the snapshot if the stored version is the expected one (0: none stored), else StaleRunError."""
        output, stored = snapshot.output, split(snapshot)
        saved = self._scripts.run(
            "save_run",
            [
                keys.run(output.run_id),
                keys.RUNS,
                keys.session(output.session_id or ""),
                keys.EXPIRING,
                keys.STATES,
            ],
            [
                output.run_id,
                expected_version,
                stored.head,
                stored.log,
                output.status,
                output.agent_name or "",
                milliseconds(self._timing.retention_seconds),
                output.session_id or "",
            ],
        )
        if saved != 1:
            raise StaleRunError(
                f"run {output.run_id} was changed by somebody else since version {expected_version}; load it again"
            )
        return snapshot.model_copy(update={"version": expected_version + 1, "logged": stored.logged})

    def history(self, session_id: str, *, limit: int) -> list[RunSnapshot]:
        """The last `limit` completed runs of a session, oldest first; reads no more than these."""
        run_ids = newest(self._connection, keys.session(session_id), limit)
        found = (self.load(run_id) for run_id in reversed(run_ids))
        return [snapshot for snapshot in found if snapshot is not None]

    def request_cancel(self, run_id: str) -> None:
        """Ask whoever drives the run to stop; no effect on a run that is not stored."""
        if self._connection.exists(keys.run(run_id)):
            self._connection.hset(keys.run(run_id), "cancel_reason", "cancelled")

    def cancel_requested(self, run_id: str) -> bool:
        """Whether the end of the run was asked for."""
        return bool(self._connection.hexists(keys.run(run_id), "cancel_reason"))
