"""Counts telemetry events in memory, for metrics; tells nobody what it counted, and never raises into the work."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias, cast

from agent_core.run import RunStatus
from agent_core.telemetry import listen
from queues.counting import (
    ANSWERS_REFUSED,
    CALLS,
    EXECUTION,
    INLINE_CALLS,
    LEASES_LOST,
    MICROSECONDS,
    MODEL_REQUESTS,
    MODEL_SECONDS,
    QUEUE_WAIT,
    REPAIRS,
    REPAIRS_FOUND,
    RUN_SECONDS,
    SANDBOX_REFUSALS,
    SANDBOX_STARTS,
    STRETCHES,
    SUM,
    TOKENS,
    TURNAROUND,
    Family,
    Figure,
)

Fields: TypeAlias = Mapping[str, object]

OTHER = "other"  # an agent that this worker does not have: whoever may submit could else make up series
_KINDS = {
    RunStatus.PENDING.value: "start",
    RunStatus.PAUSED.value: "continuation",
    RunStatus.RUNNING.value: "takeover",
    RunStatus.ERROR.value: "retry",
}
_ENDS = frozenset(status.value for status in RunStatus if status.is_finished)

_log = logging.getLogger(__name__)


class Counts:
    """What this process has counted and not given away yet; safe to use from several threads."""

    def __init__(self, *, agents: Collection[str] = ()) -> None:
        self._agents = frozenset(agents)
        self._counted: Counter[Figure] = Counter()
        self._lock = threading.Lock()
        self._counting: Mapping[str, Callable[[Fields], None]] = {
            "run.claimed": self._run_claimed,
            "run.left": self._run_left,
            "run.ended": self._run_left,
            "model.answered": self._model_answered,
            "inline.executed": self._inline_executed,
            "call.claimed": self._call_claimed,
            "call.executed": self._call_executed,
            "call.settled": self._call_settled,
            "sandbox.started": self._sandbox_started,
            "sandbox.refused": self._sandbox_refused,
            "sweep.looked": self._sweep_looked,
            "lease.lost": self._lease_lost,
        }

    def listen(self, *, about: str = "") -> Callable[[], None]:
        """Count the events of this process from now on, or those whose names begin so; returns what ends that."""
        return listen(lambda event, fields: self.hear(event, fields) if event.startswith(about) else None)

    def hear(self, event: str, fields: Fields) -> None:
        """Count an event."""
        if (count := self._counting.get(event)) is not None:
            try:
                count(fields)
            except Exception:
                _log.exception("%s could not be counted", event)

    def take(self) -> Mapping[Figure, int]:
        """All that was counted since the last time, which is the caller's from now on."""
        with self._lock:
            taken, self._counted = self._counted, Counter()
        return taken

    def _add(self, family: Family, *labels: object, amount: int = 1) -> None:
        with self._lock:
            self._counted[(family.name, *map(str, labels))] += amount

    def _time(self, family: Family, *labels: object, seconds: object) -> None:
        # Clocks of two machines may disagree.
        taken = max(0.0, cast(float, seconds))
        series = (family.name, *map(str, labels))
        with self._lock:
            self._counted[(*series, family.bucket(taken))] += 1
            self._counted[(*series, SUM)] += round(taken * MICROSECONDS)

    def _agent(self, fields: Fields) -> str:
        agent = str(fields["agent"])
        return agent if agent in self._agents else OTHER

    def _run_claimed(self, fields: Fields) -> None:
        kind = _KINDS.get(str(fields["found"]))
        if kind is not None:
            self._add(STRETCHES, self._agent(fields), kind)

    def _run_left(self, fields: Fields) -> None:
        if fields["status"] in _ENDS:
            self._time(RUN_SECONDS, self._agent(fields), seconds=fields["age_seconds"])

    def _model_answered(self, fields: Fields) -> None:
        agent, model = self._agent(fields), fields["model"]
        self._add(MODEL_REQUESTS, agent, model, fields["outcome"])
        self._time(MODEL_SECONDS, agent, model, seconds=fields["wall_seconds"])
        for direction in TOKENS.values["direction"]:
            tokens = cast(int, fields[f"{direction}_tokens"])
            if tokens > 0:
                self._add(TOKENS, agent, model, direction, amount=tokens)

    def _inline_executed(self, fields: Fields) -> None:
        self._add(INLINE_CALLS, fields["outcome"])

    def _call_claimed(self, fields: Fields) -> None:
        self._time(QUEUE_WAIT, fields["pool"], seconds=fields["queue_wait_seconds"])

    def _call_executed(self, fields: Fields) -> None:
        self._time(EXECUTION, fields["pool"], seconds=fields["wall_seconds"])

    def _call_settled(self, fields: Fields) -> None:
        pool, verdict = fields["pool"], fields["verdict"]
        if verdict in ("settled", "last"):
            self._add(CALLS, pool, fields["outcome"])
            self._time(TURNAROUND, pool, seconds=fields["turnaround_seconds"])
        elif verdict in ANSWERS_REFUSED.values["verdict"]:
            self._add(ANSWERS_REFUSED, pool, verdict)

    def _sandbox_started(self, fields: Fields) -> None:
        self._add(SANDBOX_STARTS, fields["pool"], fields["sandbox_level"])

    def _sandbox_refused(self, fields: Fields) -> None:
        self._add(SANDBOX_REFUSALS, fields["pool"])

    def _sweep_looked(self, fields: Fields) -> None:
        found = fields["found"]
        if found in REPAIRS_FOUND:
            self._add(REPAIRS, found)
        if fields["kind"] == "call" and found in ("lost", "expired"):
            self._add(CALLS, fields["pool"], found)

    def _lease_lost(self, fields: Fields) -> None:
        self._add(LEASES_LOST, fields["kind"])
