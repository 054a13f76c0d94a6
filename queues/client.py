"""What producers use: submit a run, watch it, wait for it, answer its human steps, cancel it.

Imports neither a model nor any user code; the agent is known by its name only. Nothing here polls: waiting blocks in
Redis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from pydantic import JsonValue

from agent_core.errors import ErrandryError
from agent_core.events import RunEvent
from agent_core.run import RunOutput, RunSnapshot, RunStatus, new_run_id
from agent_core.tools.execution import Confirmation, ToolExecution, UserInput
from queues.connections import Durability, connect, translated_errors, written_through
from queues.dead_letters import DeadLetter, DeadLetters
from queues.errors import NotRequeueableError
from queues.event_stream import follow, is_final, latest_event_id, with_calls
from queues.people import NOT_GIVEN, People
from queues.runs import Runs, StoredRun
from queues.timing import Timing
from queues.topology import LANES, Lane


class WaitTimeoutError(ErrandryError, TimeoutError):
    """The run did not end within the time that the caller would wait; it goes on all the same."""


class Client:
    """A producer's connection to the queue. Thread-safe; make one and keep it."""

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "everysec",
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects at the first use. A submit returns once the run is stored; with `durability="fsync"` also on disk
        there, with "replica" also with a replica.
        """
        self._connection = connect(url, client_name="errandry-client")
        self._timing = timing or Timing()
        self._durability = durability
        self._runs = Runs(self._connection, timing=self._timing)
        self._people = People(self._runs)
        self._dead_letters = DeadLetters(self._connection, timing=self._timing)
        self._clock = clock

    @classmethod
    def from_settings(cls) -> Client:
        """A client for the Redis of the project in the current folder, as its workers use it."""
        # pydantic-settings costs more to import than everything else here; producers with a URL need none of it.
        from queues.redis_url import url_of  # noqa: PLC0415
        from queues.settings import load_settings  # noqa: PLC0415

        settings = load_settings()
        return cls(url_of(settings), durability=settings.durability)

    def submit(
        self,
        agent: str,
        input: str,
        *,
        idempotency_key: str | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        priority: Lane = "normal",
        deadline_seconds: float | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> RunHandle:
        """Store a run of the named agent and publish it; returns once it is stored.

        The same `idempotency_key` gives the same run for as long as that is kept; with another agent or input it
        raises IdempotencyConflictError. UnknownAgentError if agent workers have announced themselves and none of
        them offers the agent. An answer that is lost on the way is asked for again and stores nothing twice; a submit
        that raised for want of a connection may be repeated with its key.
        A run that is not done `deadline_seconds` from now ends in ERROR, reason `expired`.
        """
        if priority not in LANES:
            raise ValueError(f"priority is {priority!r}; choose one of {', '.join(LANES)}")
        if deadline_seconds is not None and not deadline_seconds > 0:
            raise ValueError(f"deadline_seconds is {deadline_seconds}; give a time from now, above 0")
        snapshot = RunSnapshot.create(
            agent_name=agent,
            input=input,
            run_id=new_run_id(),
            session_id=session_id,
            user_id=user_id,
            metadata=dict(metadata or {}),
        )
        with translated_errors(self._connection), written_through(self._connection, self._durability) as connection:
            run_id = Runs(connection, timing=self._timing).create(
                snapshot,
                agent=agent,
                lane=priority,
                idempotency_key=idempotency_key,
                deadline_seconds=deadline_seconds,
            )
        return RunHandle(self, run_id)

    def run(self, run_id: str) -> RunHandle:
        """A handle of a run that was submitted earlier, perhaps elsewhere; RunNotFoundError if there is none."""
        self._load(run_id)
        return RunHandle(self, run_id)

    def runs(self, *, status: RunStatus | None = None, agent: str | None = None, limit: int = 50) -> list[RunOutput]:
        """The newest runs first, as far as they match, out of the newest `limit`."""
        with translated_errors(self._connection):
            found = [run.snapshot.output for run in self._runs.latest(limit=limit)]
        return [
            output
            for output in found
            if (status is None or output.status is status) and (agent is None or output.agent_name == agent)
        ]

    def output(self, run_id: str) -> RunOutput:
        """The run as far as it has come; RunNotFoundError if there is none."""
        return self._load(run_id).snapshot.output

    def events(self, run_id: str, *, after: str | None = None, timeout: float | None = None) -> Iterator[RunEvent]:
        """What happens in the run, from its first event or from after an `event_id`, until its end or the time-out.

        Without gap and without repeat, across all workers and pauses, also if this is called again later with the
        `event_id` of the last event that was seen.
        """
        output = self.output(run_id)
        deadline = None if timeout is None else self._clock() + timeout
        with translated_errors(self._connection):
            told = follow(self._connection, output, after=after, deadline=deadline, clock=self._clock)
            yield from with_calls(self._connection, run_id, told, from_beginning=after is None)

    def wait(
        self, run_id: str, *, timeout: float | None = None, until: Literal["finished", "paused"] = "finished"
    ) -> RunOutput:
        """Block until the run has ended, and return it; a pause ends it too with `until="paused"`, if it is for people.

        WaitTimeoutError after `timeout` seconds; the run goes on.
        """
        deadline = None if timeout is None else self._clock() + timeout
        while True:
            with translated_errors(self._connection):
                # The place is taken before the look, so that what happens in between is not missed.
                after = latest_event_id(self._connection, run_id)
                output = self.output(run_id)
                if output.status.is_finished or (until == "paused" and _waits_for_people(output)):
                    return output
                if deadline is not None and self._clock() >= deadline:
                    raise WaitTimeoutError(f"run {run_id} is still {output.status.value} after {timeout:g} s")
                for event in follow(self._connection, output, after=after, deadline=deadline, clock=self._clock):
                    if is_final(event) or event.is_paused:
                        break

    def cancel(self, run_id: str, reason: str = "") -> bool:
        """End the run, its queued calls and those that execute; returns whether there was anything left to end.

        One that a worker holds ends within a heartbeat, any other at once. A repeat changes nothing.
        """
        while True:
            stored = self._load(run_id)
            if stored.snapshot.output.status.is_finished:
                return False
            with translated_errors(self._connection):
                word = self._runs.cancel(stored, reason=reason)
            if word != "changed":
                return word != "finished"

    def retry(self, run_id: str) -> RunHandle:
        """Let a run that ended in ERROR go on from its last snapshot, never from its input.

        RunNotFailedError for a run in any other state, so a repeat is refused while the first one goes on.
        """
        with translated_errors(self._connection):
            self._runs.retry(self._load(run_id))
        return RunHandle(self, run_id)

    def dead_letters(self, *, limit: int = 50) -> list[DeadLetter]:
        """What was buried, the newest first."""
        with translated_errors(self._connection):
            return self._dead_letters.latest(limit=limit)

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """One of them; DeadLetterNotFoundError if it is not there (any more)."""
        with translated_errors(self._connection):
            return self._dead_letters.load(letter_id)

    def requeue(self, letter_id: str) -> bool:
        """Dig up what was buried: a run goes on from its last snapshot, a call back to its pool's queue.

        False if a call's run has ended meanwhile; the letter is gone in either case. NotRequeueableError for a message
        that was refused.
        """
        letter = self.dead_letter(letter_id)
        if letter.kind == "message":
            raise NotRequeueableError(
                f"{letter_id} is a message that was refused, and nothing of it was kept; whoever sent it has to mend it"
            )
        if letter.kind == "run":
            self.retry(letter.run_id)
            return True
        with translated_errors(self._connection):
            return self._dead_letters.requeue_call(letter)

    def pending(self, run_id: str) -> list[ToolExecution]:
        """The calls that the run still waits for, in pools and with people alike."""
        with translated_errors(self._connection):
            return self._runs.unanswered(self._runs.load(run_id))

    def settle(self, run_id: str, tool_call_id: str, *, result: object = NOT_GIVEN, error: str | None = None) -> None:
        """Give the result, or the error, of an external call that no pool executes.

        InvalidAnswerError if the run does not wait for that. The first answer stands; a repeat changes nothing.
        """
        with translated_errors(self._connection):
            self._people.settle(run_id, tool_call_id, result=result, error=error)

    def confirm(self, run_id: str, tool_call_id: str, approved: bool, note: str = "") -> None:
        """Say yes or no to a call that asks for confirmation; the model sees the note of a refusal."""
        with translated_errors(self._connection):
            self._people.confirm(run_id, tool_call_id, Confirmation(confirmed=approved, note=note))

    def provide_input(self, run_id: str, tool_call_id: str, values: Mapping[str, JsonValue]) -> None:
        """Give the arguments that a call asks a person for."""
        with translated_errors(self._connection):
            self._people.provide_input(run_id, tool_call_id, UserInput(values=dict(values)))

    def _load(self, run_id: str) -> StoredRun:
        with translated_errors(self._connection):
            return self._runs.load(run_id)

    def close(self) -> None:
        """Give the connections back; the client may be used again and then connects anew."""
        self._connection.close()


class RunHandle:
    """One run, seen from a producer."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    def __repr__(self) -> str:
        return f"RunHandle({self.run_id!r})"

    def status(self) -> RunStatus:
        """Where the run stands now."""
        return self.output().status

    def output(self) -> RunOutput:
        """The run as far as it has come."""
        return self._client.output(self.run_id)

    def pending(self) -> list[ToolExecution]:
        """As `Client.pending`."""
        return self._client.pending(self.run_id)

    def retry(self) -> RunHandle:
        """As `Client.retry`."""
        return self._client.retry(self.run_id)

    def wait(self, timeout: float | None = None, *, until: Literal["finished", "paused"] = "finished") -> RunOutput:
        """As `Client.wait`."""
        return self._client.wait(self.run_id, timeout=timeout, until=until)

    def events(self, after: str | None = None, *, timeout: float | None = None) -> Iterator[RunEvent]:
        """As `Client.events`."""
        return self._client.events(self.run_id, after=after, timeout=timeout)

    def cancel(self, reason: str = "") -> bool:
        """As `Client.cancel`."""
        return self._client.cancel(self.run_id, reason)


def _waits_for_people(output: RunOutput) -> bool:
    return output.status is RunStatus.PAUSED and any(
        call.is_paused and (call.pool is None or not call.external_execution_required) for call in output.tools or []
    )
