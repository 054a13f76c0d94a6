"""`RunStore`, the seam behind which snapshots live, and the store that an agent has when it is given none.

Never looks into a run beyond its ids, its status and its version.
"""

import threading
from collections import OrderedDict
from typing import NamedTuple, Protocol

from agent_core.errors import StaleRunError
from agent_core.run import RunSnapshot, RunStatus


class RunStore(Protocol):
    """Where snapshots live. Methods may block; async drivers call them in a thread."""

    def load(self, run_id: str) -> RunSnapshot | None:
        """Return the stored snapshot, a copy of its own, or None."""

    def save(self, snapshot: RunSnapshot, *, expected_version: int) -> RunSnapshot:
        """Store and return a copy with the next version; `StaleRunError` unless `expected_version` is the stored one.

        Expecting 0 creates the run.
        """

    def history(self, session_id: str, *, limit: int) -> list[RunSnapshot]:
        """Return the last `limit` COMPLETED runs of the session, oldest first, reading no others."""

    def request_cancel(self, run_id: str) -> None:
        """Ask whoever drives the run to stop; no effect on a run that nobody drives."""

    def cancel_requested(self, run_id: str) -> bool:
        """Return whether `request_cancel` was called for the run, which has not finished since."""


def stale(run_id: str, *, expected: int, found: int) -> StaleRunError:
    """Return the error of a lost compare-and-set, in the words that all stores use."""
    if expected == 0:
        return StaleRunError(f"Run {run_id!r} exists already. Leave run_id out, or choose another.")
    state = f"version {found} is stored" if found else "it is not stored (any more)"
    return StaleRunError(f"Run {run_id!r} was changed by somebody else: version {expected} was expected, {state}.")


def may_block(store: RunStore) -> bool:
    """Return whether the store may wait for something outside this process, as far as can be known."""
    return type(store) is not InMemoryRunStore


class _Stored(NamedTuple):
    version: int
    status: RunStatus
    session_id: str
    text: str


class InMemoryRunStore:
    """Keeps the newest `max_runs` runs of this process, safe among threads.

    Over the bound the oldest finished run goes first; only when all wait or run, the oldest of those.
    """

    def __init__(self, *, max_runs: int = 1000) -> None:
        if max_runs < 1:
            raise ValueError(f"max_runs is {max_runs}; a store must hold 1 run or more.")
        self._max_runs = max_runs
        self._lock = threading.Lock()
        self._stored: OrderedDict[str, _Stored] = OrderedDict()
        self._completed: dict[str, list[str]] = {}
        self._cancel_requested: set[str] = set()

    def load(self, run_id: str) -> RunSnapshot | None:
        with self._lock:
            entry = self._stored.get(run_id)
        return None if entry is None else RunSnapshot.from_json(entry.text)

    def save(self, snapshot: RunSnapshot, *, expected_version: int) -> RunSnapshot:
        saved = snapshot.model_copy(update={"version": expected_version + 1})
        # In full: it is written faster, and nobody counts these bytes.
        text, run_id, session_id = saved.model_dump_json(exclude={"logged"}), saved.run_id, saved.output.session_id
        with self._lock:
            found = self._stored[run_id].version if run_id in self._stored else 0
            if found != expected_version:
                raise stale(run_id, expected=expected_version, found=found)
            self._stored[run_id] = _Stored(saved.version, saved.status, session_id or "", text)
            if saved.status.is_finished:
                self._cancel_requested.discard(run_id)
            if saved.status is RunStatus.COMPLETED and session_id is not None:
                self._completed.setdefault(session_id, []).append(run_id)
            self._evict()
        return saved

    def history(self, session_id: str, *, limit: int) -> list[RunSnapshot]:
        with self._lock:
            last = self._completed.get(session_id, [])[-limit:] if limit > 0 else []
            texts = [self._stored[run_id].text for run_id in last]
        return [RunSnapshot.from_json(text) for text in texts]

    def request_cancel(self, run_id: str) -> None:
        with self._lock:
            if run_id in self._stored:
                self._cancel_requested.add(run_id)

    def cancel_requested(self, run_id: str) -> bool:
        with self._lock:
            return run_id in self._cancel_requested

    def _evict(self) -> None:
        while len(self._stored) > self._max_runs:
            finished = (run_id for run_id, entry in self._stored.items() if entry.status.is_finished)
            run_id = next(finished, next(iter(self._stored)))
            session_id = self._stored.pop(run_id).session_id
            self._cancel_requested.discard(run_id)
            if run_id in (completed := self._completed.get(session_id, [])):
                completed.remove(run_id)
                if not completed:
                    del self._completed[session_id]
