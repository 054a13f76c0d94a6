"""Which runs wait for people, and for what: each of them is in the index of deadlines. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import redis

from agent_core.errors import RunNotFoundError
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import ToolExecution
from queues import keys
from queues.replies import newest
from queues.runs import Runs

_LOOKED_AT = 2000  # runs with a deadline of their own are in the index as well, whether they wait or not
_BATCH = 200


@dataclass(frozen=True)
class WaitingRun:
    """A run that waits for people, and the calls that it asks them about."""

    output: RunOutput
    calls: list[ToolExecution]

    def to_dict(self) -> dict[str, object]:
        """The run in short, and its calls in full, as JSON-able values."""
        run = self.output.model_dump(mode="json", include={"run_id", "agent_name", "input", "created_at", "metadata"})
        return {**run, "calls": [call.model_dump(mode="json") for call in self.calls]}


def waiting_runs(connection: redis.Redis, runs: Runs, *, limit: int) -> list[WaitingRun]:
    """Up to `limit` of them, the newest first; out of the 2,000 runs that have the most time left."""
    found: list[WaitingRun] = []
    for run_id in _candidates(connection):
        if len(found) >= limit:
            break
        try:
            stored = runs.load(run_id)
        except RunNotFoundError:
            continue
        calls = [call for call in runs.unanswered(stored) if call.waits_for_person]
        if calls:
            found.append(WaitingRun(stored.snapshot.output, calls))
    return sorted(found, key=lambda run: run.output.created_at, reverse=True)


def _candidates(connection: redis.Redis) -> Iterator[str]:
    """The paused runs of the index, those that began to wait last first."""
    run_ids = newest(connection, keys.DEADLINES, _LOOKED_AT)
    for start in range(0, len(run_ids), _BATCH):
        batch = run_ids[start : start + _BATCH]
        with connection.pipeline(transaction=False) as pipeline:
            for run_id in batch:
                pipeline.hget(keys.run(run_id), "status")
            states = cast(list[str | None], pipeline.execute())
        yield from (run_id for run_id, status in zip(batch, states, strict=True) if status == RunStatus.PAUSED)
