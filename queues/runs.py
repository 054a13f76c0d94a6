"""Runs on the queue as producers see them: create, load, cancel, answer. Carries no run on; that needs a claim.

The run's hash is the truth, and every state change of it is one script.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import redis

from agent_core.errors import RunNotFoundError
from agent_core.run import RunSnapshot, RunStatus
from agent_core.tools.execution import CallAnswer, ToolExecution
from queues import keys
from queues.endings import Endings, EndWord, cancelled
from queues.envelopes import continuation_envelope, start_envelope
from queues.errors import IdempotencyConflictError, RunNotFailedError, UnknownAgentError
from queues.replies import answers, fields, newest
from queues.scripts import Scripts
from queues.timing import Timing, milliseconds
from queues.topology import Lane, agents_queue, lane_named

AnswerWord = Literal["settled", "last", "already", "missing"]


@dataclass(frozen=True)
class StoredRun:
    """A run as it lies in Redis: its snapshot with the version and status that count, and its lane."""

    snapshot: RunSnapshot
    lane: Lane


class Runs:
    """The runs on the queue. Every method may be repeated."""

    def __init__(self, connection: redis.Redis, *, timing: Timing) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._endings = Endings(connection)
        self._timing = timing

    def create(
        self,
        snapshot: RunSnapshot,
        *,
        agent: str,
        lane: Lane,
        idempotency_key: str | None = None,
        deadline_seconds: float | None = None,
    ) -> str:
        """Store a new run, whose id was made for it alone, and publish its start in one step; returns the run's id.

        A repeat, as after an answer that was lost on the way, changes nothing.

        With a known `idempotency_key` nothing is stored and the id of the run it stands for is returned; the same key
        with another agent or input raises IdempotencyConflictError. An agent that none of the announced agent
        workers offers raises UnknownAgentError.
        """
        run_id = snapshot.output.run_id
        verdict, *rest = self._scripts.row(
            "create_run",
            [
                keys.run(run_id),
                keys.RUNS,
                keys.DUE,
                agents_queue(lane),
                keys.AGENTS,
                keys.idempotency(idempotency_key or ""),
                keys.DEADLINES,
            ],
            [
                run_id,
                agent,
                lane,
                snapshot.to_json(),
                start_envelope(agent, run_id, lane).render(),
                json.dumps([agent, snapshot.output.input], sort_keys=True, default=str) if idempotency_key else "",
                milliseconds(self._timing.retention_seconds),
                milliseconds(self._timing.repush_seconds),
                "" if deadline_seconds is None else milliseconds(deadline_seconds),
            ],
        )
        match verdict:
            case "repeated":
                return rest[0]
            case "conflict":
                raise IdempotencyConflictError(
                    f"idempotency key {idempotency_key!r} already stands for run {rest[0]}, which has another agent or "
                    "input; use a new key for a new run"
                )
            case "unknown_agent":
                raise UnknownAgentError(
                    f"no agent worker offers an agent named {agent!r}; on offer: {', '.join(sorted(rest))}"
                )
            case _:
                return run_id

    def load(self, run_id: str) -> StoredRun:
        """The run as it is stored now; RunNotFoundError if there is none (or no longer)."""
        stored, version, status, lane, parked = fields(
            self._connection, keys.run(run_id), "snapshot", "version", "status", "lane", "parked"
        )
        if stored is None or version is None or status is None:
            raise RunNotFoundError(f"there is no run {run_id!r}; finished runs are kept for a limited time only")
        snapshot = RunSnapshot.from_json(stored)
        snapshot.version = int(version)
        snapshot.output.status = RunStatus(status)
        if parked is not None:
            snapshot.output.error = parked
        return StoredRun(snapshot, lane_named(lane))

    def unanswered(self, stored: StoredRun) -> list[ToolExecution]:
        """The calls that the run waits for and that have no answer yet; a run holds answers until it goes on."""
        (waiting,) = fields(self._connection, keys.run(stored.snapshot.run_id), "waiting")
        told = answers(self._connection, waiting)
        return [call for call in stored.snapshot.pending if told.get(call.tool_call_id) is None]

    def latest(self, *, limit: int) -> list[StoredRun]:
        """The newest runs first; entries whose run is gone are taken out of the index on the way."""
        found: list[StoredRun] = []
        for run_id in newest(self._connection, keys.RUNS, limit):
            try:
                found.append(self.load(run_id))
            except RunNotFoundError:
                self._connection.zrem(keys.RUNS, run_id)
        return found

    def cancel(self, stored: StoredRun, *, reason: str) -> EndWord:
        """End a run that nobody holds, or ask the holder of a running one to stop.

        `changed` means that the run has moved on since it was loaded: load it again.
        """
        ending = cancelled(stored.snapshot, reason=reason)
        word = self._endings.end(ending, retention_seconds=self._timing.retention_seconds)
        if word == "missing":
            raise RunNotFoundError(f"there is no run {stored.snapshot.run_id!r} to cancel")
        return word

    def retry(self, stored: StoredRun) -> None:
        """Let a run that ended in ERROR go on from its last snapshot; RunNotFailedError for any other."""
        snapshot, run_id = stored.snapshot, stored.snapshot.run_id
        envelope = continuation_envelope(snapshot.output.agent_name, run_id, snapshot.step, stored.lane)
        word = self._scripts.word(
            "retry_run",
            [
                keys.run(run_id),
                keys.events(run_id),
                keys.DUE,
                keys.DEADLINES,
                keys.EXPIRING,
                envelope.queue,
                keys.DEAD,
                keys.DEAD_LETTERS,
            ],
            [run_id, envelope.render(), milliseconds(self._timing.repush_seconds)],
        )
        if word != "retried":
            raise RunNotFailedError(f"run {run_id} is {word}; only a run that ended in ERROR can be retried")

    def answer(self, run: StoredRun, tool_call_id: str, answer: CallAnswer) -> AnswerWord:
        """Write a person's answer down: `settled`, `last` (the run goes on), `already` or `missing`."""
        run_id, step = run.snapshot.run_id, run.snapshot.step
        continuation = continuation_envelope(run.snapshot.output.agent_name, run_id, step, run.lane)
        word = self._scripts.word(
            "answer_person",
            [keys.people(run_id, step), keys.DUE, continuation.queue],
            [
                tool_call_id,
                answer.model_dump_json(),
                run_id,
                milliseconds(self._timing.repush_seconds),
                continuation.render(),
            ],
        )
        match word:
            case "settled" | "last" | "already" | "missing":
                return word
            case _:
                raise ValueError(f"answer_person answered {word!r}")
