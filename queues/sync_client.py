"""The client for threads: submit a run, watch it, wait for it, answer its human steps, cancel it, execute a call.

Imports neither a model nor any user code; the agent is known by its name only. Nothing here polls: waiting blocks in
Redis, in steps that `AsyncClient` takes as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Self

from queues.not_given import NOT_GIVEN
from queues.run_handle import RunHandle, Until
from queues.timing import Timing
from queues.topology import Lane

# Their names alone are needed here: the models and redis take long to import, and are loaded when a client is made.
if TYPE_CHECKING:
    from pydantic import JsonValue

    from agent_core.events import RunEvent
    from agent_core.run import RunOutput, RunStatus
    from agent_core.tools.execution import ToolExecution
    from queues.connections import Durability
    from queues.dead_letters import DeadLetter
    from queues.offers import OfferedPool
    from queues.run_list import RunPage
    from queues.waiting_runs import WaitingRun


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
        # Only now; see above.
        from queues.client_stores import Stores  # noqa: PLC0415

        self._stores = Stores(url, durability=durability, timing=timing or Timing(), clock=clock)

    @classmethod
    def from_settings(cls) -> Self:
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
        webhook_url: str | None = None,
    ) -> RunHandle:
        """Store a run of the named agent and publish it; returns once it is stored.

        The same `idempotency_key` gives the same run for as long as that is kept; with another agent or input it
        raises IdempotencyConflictError. UnknownAgentError if agent workers have announced themselves and none of
        them offers the agent. An answer that is lost on the way is asked for again and stores nothing twice; a submit
        that raised for want of a connection may be repeated with its key. ValueError names what is of no use as it is.
        A run that is not done `deadline_seconds` from now ends in ERROR, reason `expired`.
        The run's end, and each of its pauses for people, is posted to `webhook_url` by a gateway; WebhookUrlError if
        that is none to post to. With a known `idempotency_key` the first submit's URL stands.
        Where OpenTelemetry has an active span here, the run's spans belong to its trace.
        """
        with self._stores.reached():
            run_id, is_repeat = self._stores.submit(
                agent,
                input,
                idempotency_key=idempotency_key,
                session_id=session_id,
                user_id=user_id,
                lane=priority,
                deadline_seconds=deadline_seconds,
                metadata=metadata,
                webhook_url=webhook_url,
            )
        return RunHandle(self, run_id, is_repeat=is_repeat)

    def run(self, run_id: str) -> RunHandle:
        """A handle of a run that was submitted earlier, perhaps elsewhere; RunNotFoundError if there is none."""
        self.status(run_id)
        return RunHandle(self, run_id)

    def runs(
        self,
        *,
        status: RunStatus | Collection[RunStatus] | None = None,
        agent: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> RunPage:
        """The runs that match, the newest first: at most `limit`, and only those older than the run `before`, if given.
        Several statuses match any of them.

        One call looks at the next 1,000 runs and no further, so a page may be short; its own `before` leads on from
        where the look ended, and is None once there are no older runs. RunNotFoundError for a `before` that is not
        kept (any more).
        """
        with self._stores.reached():
            return self._stores.list.page(status=status, agent=agent, limit=limit, before=before)

    def output(self, run_id: str) -> RunOutput:
        """The run as far as it has come; RunNotFoundError if there is none."""
        with self._stores.reached():
            return self._stores.runs.load(run_id).snapshot.output

    def status(self, run_id: str) -> RunStatus:
        """Where the run stands now, whatever it has said; RunNotFoundError if there is none."""
        with self._stores.reached():
            return self._stores.runs.status(run_id)

    def events(self, run_id: str, *, after: str | None = None, timeout: float | None = None) -> Iterator[RunEvent]:
        """What happens in the run, from its first event or from after an `event_id`, until its end or the time-out.

        Without gap and without repeat, across all workers and pauses, also if this is called again later with the
        `event_id` of the last event that was seen, and while Redis is away for a while. `timeout=0` gives what has
        happened so far.
        """
        with self._stores.reached():
            yield from self._stores.events(run_id, after=after, timeout=timeout)

    def wait(self, run_id: str, *, timeout: float | None = None, until: Until = "finished") -> RunOutput:
        """Block until the run has ended, and return it; a pause ends it too with `until="paused"`, if it is for people.

        WaitTimeoutError after `timeout` seconds; the run goes on.
        """
        with self._stores.reached():
            return self._stores.wait(run_id, until=until, timeout=timeout)

    def cancel(self, run_id: str, reason: str = "") -> bool:
        """End the run, its queued calls and those that execute; returns whether there was anything left to end.

        One that a worker holds ends within a heartbeat, any other at once. A repeat changes nothing.
        """
        with self._stores.reached():
            return self._stores.cancel(run_id, reason=reason)

    def retry(self, run_id: str) -> RunHandle:
        """Let a run that ended in ERROR go on from its last snapshot, never from its input.

        RunNotFailedError for a run in any other state, so a repeat is refused while the first one goes on.
        """
        with self._stores.reached():
            self._stores.runs.retry(self._stores.runs.load(run_id))
        return RunHandle(self, run_id)

    def execute(
        self,
        tool: ToolExecution | str,
        args: Mapping[str, JsonValue] | None = None,
        *,
        pool: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Have a call executed in its pool, without a run, and return the text of its result.

        The tool is named, with `args`, or given as the call of a run that an agent carries on in this process. Its pool
        is `pool`, else the call's own, else the one that agent workers have told of: UnknownToolError,
        UnknownPoolError. CallRefusedError if the call cannot be sent. CallFailedError for any outcome but success, as
        `lost` if its worker died. WaitTimeoutError after `timeout` seconds: the call is then cancelled, in the queue as
        in the sandbox, as it is when this is interrupted.
        """
        with self._stores.reached():
            call = self._stores.lone_call(tool, args, pool=pool, timeout=timeout)
            return self._stores.execute(call, timeout=timeout)

    def pending(self, run_id: str) -> list[ToolExecution]:
        """The calls that the run still waits for, in pools and with people alike."""
        with self._stores.reached():
            return self._stores.runs.unanswered(self._stores.runs.load(run_id))

    def waiting_runs(self, *, limit: int = 50) -> list[WaitingRun]:
        """Runs that wait for people, with the calls that they ask them about, the newest first."""
        with self._stores.reached():
            return self._stores.waiting_runs(limit=limit)

    def settle(
        self,
        run_id: str,
        tool_call_id: str,
        *,
        result: object = NOT_GIVEN,
        error: str | None = None,
        answered_by: str | None = None,
    ) -> None:
        """Give the result, or the error, of an external call that no pool executes.

        InvalidAnswerError if the run does not wait for that. The first answer stands; a repeat changes nothing.
        `answered_by` names whoever answers; it is kept with the call, with the time.
        """
        with self._stores.reached():
            self._stores.people.settle(run_id, tool_call_id, result=result, error=error, answered_by=answered_by)

    def confirm(
        self,
        run_id: str,
        tool_call_id: str,
        approved: bool,
        note: str = "",
        *,
        arguments: Mapping[str, JsonValue] | None = None,
        answered_by: str | None = None,
    ) -> None:
        """Say yes or no to a call that asks for confirmation, or that its pool executes with approval only.

        The model sees the note of a refusal. In a call of a pool, `arguments` take the place of all that it gave.
        """
        with self._stores.reached():
            self._stores.people.confirm(
                run_id, tool_call_id, approved, note=note, arguments=arguments, answered_by=answered_by
            )

    def provide_input(
        self, run_id: str, tool_call_id: str, values: Mapping[str, JsonValue], *, answered_by: str | None = None
    ) -> None:
        """Give the arguments that a call asks a person for."""
        with self._stores.reached():
            self._stores.people.provide_input(run_id, tool_call_id, values, answered_by=answered_by)

    def agents(self) -> list[str]:
        """The agents that agent workers offer now, by name."""
        with self._stores.reached():
            return self._stores.offers.agents()

    def pools(self) -> list[OfferedPool]:
        """The pools that agent workers have told of within a day: tools, workers, and what waits in each lane."""
        with self._stores.reached():
            return self._stores.offers.pools()

    def dead_letters(self, *, limit: int = 50) -> list[DeadLetter]:
        """What was buried, the newest first."""
        with self._stores.reached():
            return self._stores.dead_letters.latest(limit=limit)

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """One of them; DeadLetterNotFoundError if it is not there (any more)."""
        with self._stores.reached():
            return self._stores.dead_letters.load(letter_id)

    def requeue(self, letter_id: str) -> bool:
        """Dig up what was buried: a run goes on from its last snapshot, a call back to its pool's queue.

        False if a call's run has ended meanwhile; the letter is gone in either case. NotRequeueableError for a message
        that was refused.
        """
        with self._stores.reached():
            return self._stores.requeue(letter_id)

    def close(self) -> None:
        """Give the connections back; the client may be used again and then connects anew."""
        self._stores.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
