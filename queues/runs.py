"""Runs on the queue as producers see them: create, load, cancel, answer. Carries no run on; that needs a claim.

The run's hash is the truth, and every state change of it is one script.
"""

from __future__ import annotations

import json
from typing import Literal

import redis

from agent_core.errors import RunNotFoundError
from agent_core.run import RunSnapshot, RunStatus
from agent_core.tools.execution import CallAnswer, CallOutcome, Confirmation, ToolExecution
from queues import keys
from queues.decisions import answer_event, approved_part, with_decision
from queues.endings import Endings, EndWord, cancelled
from queues.envelopes import continuation_envelope, start_envelope
from queues.errors import IdempotencyConflictError, RunNotFailedError, UnknownAgentError
from queues.protocol import unapproved_member
from queues.replies import answers, fields
from queues.scripts import Scripts
from queues.stored_events import stored_event
from queues.stored_runs import StoredRun, load_run, not_found
from queues.timing import Timing, milliseconds
from queues.topology import Lane, agents_queue

AnswerWord = Literal["settled", "last", "already", "missing", "ended"]


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
        webhook_url: str | None = None,
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
                keys.STATES,
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
                webhook_url or "",
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
        return load_run(self._connection, run_id)

    def status(self, run_id: str) -> RunStatus:
        """Where the run stands now, without its conversation; RunNotFoundError if there is none (or no longer)."""
        (status,) = fields(self._connection, keys.run(run_id), "status")
        if status is None:
            raise not_found(run_id)
        return RunStatus(status)

    def unanswered(self, stored: StoredRun) -> list[ToolExecution]:
        """The calls that the run waits for and that have no answer yet; a run holds answers until it goes on.

        One that a person has approved, and that its pool has not answered, bears their decision.
        """
        (waiting,) = fields(self._connection, keys.run(stored.snapshot.run_id), "waiting")
        told = answers(self._connection, waiting)
        return [
            with_decision(call, told.get(call.tool_call_id, ()))
            for call in stored.snapshot.pending
            if None in told.get(call.tool_call_id, (None,))
        ]

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
                keys.STATES,
            ],
            [run_id, envelope.render(), milliseconds(self._timing.repush_seconds)],
        )
        if word != "retried":
            raise RunNotFailedError(f"run {run_id} is {word}; only a run that ended in ERROR can be retried")

    def answer(self, run: StoredRun, tool_call_id: str, answer: CallAnswer) -> AnswerWord:
        """Write a person's answer down, signed with the server's clock, and tell the run's readers.

        `settled`, or `last` if the run goes on; `already`, `missing` or `ended` if nothing was written, because another
        answer stands, the run does not wait for one, or its end has come or was asked for. The very same answer again
        is answered as the first time. A yes to a call that waits for approval hands it to its pool in the same step.
        """
        run_id, step = run.snapshot.run_id, run.snapshot.step
        call = next((call for call in run.snapshot.pending if call.tool_call_id == tool_call_id), None)
        if call is None:
            return "missing"
        part = keys.approvals(call.pool or "", run_id, step) if call.requires_approval else keys.people(run_id, step)
        continuation = continuation_envelope(run.snapshot.output.agent_name, run_id, step, run.lane)
        word = self._scripts.word(
            "answer_person",
            [
                part,
                keys.DUE,
                continuation.queue,
                keys.run(run_id),
                keys.events(run_id),
                keys.DEADLINES,
                keys.UNAPPROVED,
                keys.STATES,
            ],
            [
                tool_call_id,
                answer.model_dump_json(exclude={"answered_at"}),
                run_id,
                milliseconds(self._timing.repush_seconds),
                continuation.render(),
                stored_event(answer_event(run.snapshot, call, answer)),
                self._approved_part(run, call, answer, part),
                unapproved_member(call.pool or "", run_id, step, tool_call_id, call.tool_name),
                keys.answered_without(call.pool or "", CallOutcome.DENIED) if call.requires_approval else "",
            ],
        )
        match word:
            case "settled" | "last" | "already" | "missing" | "ended":
                return word
            case _:
                raise ValueError(f"answer_person answered {word!r}")

    def _approved_part(self, run: StoredRun, call: ToolExecution, answer: CallAnswer, part: str) -> str:
        """What `hand_out` of the scripts wants to see of an approved call; empty where nothing is handed out."""
        if not (call.requires_approval and isinstance(answer, Confirmation) and answer.confirmed):
            return ""
        names = (f"request:{call.tool_call_id}", "queue_ms", "stretch")
        request, queue_ms, stretch = fields(self._connection, part, *names)
        # Without a request the call is not there, as the script will find.
        if request is None:
            return ""
        return approved_part(run, call, answer, request=request, queue_ms=queue_ms, stretch=stretch)
