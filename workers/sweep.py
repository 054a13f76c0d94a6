"""The pass inside agent workers that puts right what crashed processes and lost messages left behind.

Several may run at once; each look is atomic. It executes nothing and continues nothing: it publishes again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import redis

from agent_core.telemetry import emit
from queues.repairs import Repairs

_REPAIRS = ("pushed", "lost", "expired", "buried")
_LIMIT = 100  # looks per pass and set, so that a backlog never makes one pass long

_log = logging.getLogger(__name__)


class Sweep:
    """Looks at what is due every few seconds, in a thread of its own, from `start` to `close`."""

    def __init__(self, repairs: Repairs, *, pools: Sequence[str], period_seconds: float = 1.0) -> None:
        self._repairs = repairs
        self._pools = tuple(pools)
        self._period_seconds = period_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="sweep", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the look at hand."""
        self._closing.set()

    def once(self) -> dict[str, int]:
        """One pass; says how often each finding was made."""
        findings: dict[str, int] = {}
        for run_id in self._repairs.due_deadlines(limit=_LIMIT):
            _count(findings, self._repairs.expire(run_id), kind="deadline")
        for run_id in self._repairs.due_runs(limit=_LIMIT):
            _count(findings, self._repairs.look_at_run(run_id), kind="run")
        for pool in self._pools:
            for entry in self._repairs.due_calls(pool, limit=_LIMIT):
                _count(findings, self._repairs.look_at_call(pool, entry), kind="call")
        self._repairs.trim(limit=_LIMIT)
        return findings

    def _loop(self) -> None:
        while not self._closing.wait(self._period_seconds):
            try:
                findings = self.once()
            except redis.RedisError as error:
                _log.warning("the sweep could not reach Redis: %s", type(error).__name__)
                continue
            repaired = {word: count for word, count in findings.items() if word in _REPAIRS}
            if repaired:
                _log.warning("the sweep repaired %s", repaired)


def _count(findings: dict[str, int], word: str, *, kind: str) -> None:
    emit("sweep.looked", kind=kind, found=word)
    findings[word] = findings.get(word, 0) + 1
