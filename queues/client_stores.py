"""What a client works with: one connection to Redis, the stores on it, and what takes more than one of them.

Loaded when a client is made and not before: redis takes longer to import than all of the client. Both clients use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress

from pydantic import JsonValue

from agent_core.events import RunEvent
from agent_core.run import RunOutput, RunSnapshot, new_run_id
from agent_core.tools.execution import ToolExecution
from queues.carrying import result_of
from queues.connections import Durability, connect, translated_errors
from queues.dead_letters import DeadLetters
from queues.errors import NotRequeueableError
from queues.event_stream import follow, with_calls
from queues.executing import lone_call, text_of
from queues.lasting_writes import written_through
from queues.lone_calls import LoneCall, LoneCalls
from queues.looking import brief_of
from queues.new_runs import check_new_run
from queues.offers import Offers
from queues.people import People
from queues.requests import Asking, T
from queues.run_handle import Until
from queues.run_list import RunList
from queues.runs import Runs
from queues.timing import Timing
from queues.topology import Lane
from queues.tracing import traceparent_here
from queues.waiting import answered, awaited
from queues.waiting_runs import WaitingRun, waiting_runs

CLIENT_NAME = "errandry-client"


class Stores:
    """A producer's stores; it connects at the first command."""

    def __init__(self, url: str, *, durability: Durability, timing: Timing, clock: Callable[[], float]) -> None:
        self.connection = connect(url, client_name=CLIENT_NAME)
        self.clock = clock
        self.runs = Runs(self.connection, timing=timing)
        self.list = RunList(self.connection)
        self.people = People(self.runs)
        self.dead_letters = DeadLetters(self.connection, timing=timing)
        self.offers = Offers(self.connection)
        self.lone_calls = LoneCalls(self.connection, timing=timing)
        self._durability = durability
        self._timing = timing

    def reached(self) -> AbstractContextManager[None]:
        """Within the block errors of Redis become ours; see `translated_errors`."""
        return translated_errors(self.connection)

    def deadline(self, timeout: float | None) -> float | None:
        """When `timeout` seconds from now are over, on the clock."""
        return None if timeout is None else self.clock() + timeout

    def submit(
        self,
        agent: str,
        input: str,
        *,
        lane: Lane,
        idempotency_key: str | None,
        session_id: str | None,
        user_id: str | None,
        deadline_seconds: float | None,
        metadata: Mapping[str, JsonValue] | None,
        webhook_url: str | None,
    ) -> tuple[str, bool]:
        """Store a new run, and return its id; True with it if that run was there already, under the key."""
        check_new_run(
            agent=agent,
            input=input,
            lane=lane,
            idempotency_key=idempotency_key,
            session_id=session_id,
            user_id=user_id,
            deadline_seconds=deadline_seconds,
            metadata=metadata,
            webhook_url=webhook_url,
        )
        snapshot = RunSnapshot.create(
            agent_name=agent,
            input=input,
            run_id=new_run_id(),
            session_id=session_id,
            user_id=user_id,
            metadata=metadata,
            traceparent=traceparent_here(),
        )
        with self._lasting_runs() as runs:
            run_id = runs.create(
                snapshot,
                agent=agent,
                lane=lane,
                idempotency_key=idempotency_key,
                deadline_seconds=deadline_seconds,
                webhook_url=webhook_url,
            )
        return run_id, run_id != snapshot.run_id

    @contextmanager
    def _lasting_runs(self) -> Iterator[Runs]:
        """The runs, for a write that is where the client's `durability` wants it when the block ends."""
        if self._durability == "everysec":
            yield self.runs
            return
        with written_through(self.connection, self._durability) as connection:
            yield Runs(connection, timing=self._timing)

    def waiting_runs(self, *, limit: int) -> list[WaitingRun]:
        """Runs that wait for people."""
        return waiting_runs(self.connection, self.runs, limit=limit)

    def events(self, run_id: str, *, after: str | None, timeout: float | None) -> Iterator[RunEvent]:
        """The events of a run, those of a pause with its calls."""
        deadline, run = self.deadline(timeout), self._carried_out(brief_of(run_id), None)
        told = follow(self.connection, run, after=after, deadline=deadline, clock=self.clock)
        return with_calls(
            self.connection, run_id, told, from_beginning=after is None, deadline=deadline, clock=self.clock
        )

    def wait(self, run_id: str, *, until: Until, timeout: float | None) -> RunOutput:
        """The run once it has ended, or waits for a person."""
        return self._carried_out(awaited(run_id, until=until, timeout=timeout), timeout)

    def cancel(self, run_id: str, *, reason: str) -> bool:
        """End a run; False if it has ended already."""
        while True:
            stored = self.runs.load(run_id)
            if stored.snapshot.status.is_finished:
                return False
            word = self.runs.cancel(stored, reason=reason)
            if word != "changed":
                return word != "finished"

    def requeue(self, letter_id: str) -> bool:
        """Dig up what was buried; False if there is nobody to do it for any more."""
        letter = self.dead_letters.load(letter_id)
        match letter.kind:
            case "message":
                raise NotRequeueableError(
                    f"{letter_id} is a message that was refused, and nothing of it was kept; whoever sent it has to "
                    "mend it"
                )
            case "run":
                self.runs.retry(self.runs.load(letter.run_id))
                return True
            case "call":
                return self.dead_letters.requeue_call(letter)
            case "webhook":
                return self.dead_letters.requeue_webhook(letter)

    def lone_call(
        self,
        tool: ToolExecution | str,
        args: Mapping[str, JsonValue] | None,
        *,
        pool: str | None,
        timeout: float | None,
    ) -> LoneCall:
        """A call without a run, ready to be handed out."""
        return lone_call(tool, args, pool=pool, timeout=timeout, offers=self.offers)

    def execute(self, call: LoneCall, *, timeout: float | None) -> str:
        """Hand a call out, and return the text of its result; without one, because of the time-out too, cancel it."""
        try:
            self.lone_calls.hand_out(call)
            answer = self._carried_out(answered(call), timeout)
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                self.lone_calls.leave(call)
            raise
        return text_of(call, self.lone_calls.leave(call) or answer, timeout=timeout)

    def _carried_out(self, steps: Asking[T], timeout: float | None) -> T:
        return result_of(self.connection, steps, deadline=self.deadline(timeout), clock=self.clock)
