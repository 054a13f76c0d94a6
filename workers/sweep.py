"""The pass inside agent workers that puts right what crashed processes and lost messages left behind.

Several may run at once; each look is atomic. It executes nothing and continues nothing: it publishes again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial

import redis

from agent_core.telemetry import emit
from queues import keys
from queues.counting import REPAIRS_FOUND
from queues.repairs import Repairs

_LIMIT = 100  # looks per pass and set, so that a backlog never makes one pass long
_GLANCES = 500  # due entries of which a glance may be enough, per pass and pool, in one step of some milliseconds

_log = logging.getLogger(__name__)


class Sweep:
    """Looks at what is due every few seconds, in a thread of its own, from `start` to `close`."""

    def __init__(
        self,
        repairs: Repairs,
        *,
        pools: Sequence[str],
        grace_seconds: float = 0.0,
        period_seconds: float = 1.0,
        on_call: Callable[[str, str, str], None] | None = None,
    ) -> None:
        """After an outage nothing is judged for `grace_seconds`, so that holders that live renew their leases first.

        `on_call` is told of each look at a call: its pool, its entry, and what was found.
        """
        self._repairs = repairs
        self._pools = tuple(pools)
        self._grace_seconds = grace_seconds
        self._period_seconds = period_seconds
        self._on_call = on_call
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
        repairs = self._repairs
        repairs.begin_pass()
        for run_id in repairs.due_deadlines(limit=_LIMIT):
            self._look(findings, "deadline", keys.DEADLINES, run_id, repairs.expire)
        for entry in repairs.approvals.due(limit=_LIMIT):
            self._look(findings, "approval", keys.UNAPPROVED, entry, repairs.approvals.look_at)
        for run_id in repairs.due_runs(limit=_LIMIT):
            self._look(findings, "run", keys.DUE, run_id, repairs.look_at_run)
        for pool in self._pools:
            # Its workers may write there what they like; everything else is looked at all the same.
            for look in (self._glance_at_pool, self._look_at_pool):
                try:
                    look(findings, pool)
                except redis.ResponseError:
                    _log.exception("the sweep cannot look at the calls of pool %s", pool)
        if refused := repairs.collect_refused(self._pools):
            findings["refused"] = refused
            for _ in range(refused):
                emit("sweep.looked", kind="message", found="refused", pool=None)
        repairs.trim(limit=_LIMIT)
        return findings

    def _glance_at_pool(self, findings: dict[str, int], pool: str) -> None:
        if waiting := self._repairs.glance_at(pool, limit=_GLANCES):
            findings["backlog"] = findings.get("backlog", 0) + waiting

    def _look_at_pool(self, findings: dict[str, int], pool: str) -> None:
        for entry in self._repairs.due_calls(pool, limit=_LIMIT):
            look = partial(self._repairs.look_at_call, pool)
            self._look(findings, "call", keys.pool_due(pool), entry, look, pool=pool)

    def _look(
        self,
        findings: dict[str, int],
        kind: str,
        due: str,
        entry: str,
        look: Callable[[str], str],
        *,
        pool: str | None = None,
    ) -> None:
        try:
            found = look(entry)
        except (redis.ConnectionError, redis.TimeoutError):
            raise
        except Exception:
            # A pool can write anything into its own keys, and a newer release anything into a snapshot: that must not
            # keep the rest from being looked at.
            _log.exception("the sweep cannot look at %s %s; it is put off", kind, entry)
            self._repairs.put_off(due, entry)
            found = "put off"
        if found == "late":
            raise redis.TimeoutError("a look of the sweep was held up on its way")
        emit("sweep.looked", kind=kind, found=found, pool=pool)
        if pool is not None and self._on_call is not None:
            self._on_call(pool, entry, found)
        findings[found] = findings.get(found, 0) + 1

    def _loop(self) -> None:
        pause_seconds, was_away = self._period_seconds, False
        while not self._closing.wait(pause_seconds):
            pause_seconds = self._period_seconds
            try:
                if was_away:
                    # Counted from its return: a pass a moment after it would find every lease run out.
                    self._repairs.due_runs(limit=1)
                    pause_seconds, was_away = self._grace_seconds, False
                    continue
                findings = self.once()
            except redis.RedisError as error:
                _log.warning("the sweep could not reach Redis: %s", type(error).__name__)
                was_away = True
                continue
            repaired = {word: count for word, count in findings.items() if word in REPAIRS_FOUND}
            if repaired:
                _log.warning("the sweep repaired %s", repaired)
