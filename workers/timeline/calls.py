"""The calls of a timeline, with their attempts and the people who answer them. Part of `workers.timeline.folding`."""

from __future__ import annotations

from datetime import datetime, timedelta

from agent_core.events import (
    RunEvent,
    ToolCallAnswered,
    ToolCallCompleted,
    ToolCallError,
    ToolCallExecuting,
    ToolCallOutput,
    ToolCallSettled,
    ToolCallStarted,
)
from agent_core.tools.execution import CallOutcome, ToolExecution
from workers.timeline.values import Answer, Attempt, Call, Decision, Pause, Step, Timeline, Turn

_DECISIONS: dict[bool | None, Decision] = {True: "approved", False: "denied", None: "answered"}


class CallBook:
    """The calls of a run by step and id, kept in the steps of its timeline."""

    def __init__(self, timeline: Timeline) -> None:
        self._steps = timeline.steps
        self._calls: dict[tuple[int, str], Call] = {}

    def entries(self, step: int) -> list[Turn | Call | Pause]:
        """The entries of a step, which is there from now on."""
        found = next((known for known in reversed(self._steps) if known.step == step), None)
        if found is None:
            found = Step(step=step)
            self._steps.append(found)
        return found.entries

    def of_step(self, step: int) -> list[Call]:
        """The calls of a step."""
        return [call for call in self._calls.values() if call.step == step]

    def are_done(self, step: int) -> bool:
        """Whether the run has taken in the results of all calls of a step."""
        return all(call.is_done for call in self.of_step(step))

    def take_in(self, event: RunEvent) -> bool:
        """Note what an event tells of a call; True if the run has taken in its result with that."""
        at = event.created_at
        match event:
            case ToolCallStarted():
                self._start(event.tool, at)
            case ToolCallExecuting():
                self._execute(event)
            case ToolCallOutput():
                attempt = self._attempt(self._call(event.step, event.tool_call_id, event.tool_name), event.attempt)
                attempt.output_characters += len(event.content)
            case ToolCallAnswered():
                call = self._call(event.step, event.tool_call_id, event.tool_name)
                call.answer = Answer(
                    decision="approved" if call.record is None or not call.record.requires_user_input else "answered",
                    by=event.answered_by,
                    at=event.answered_at or at,
                    note=_note(event),
                    changed_arguments=event.tool_args is not None,
                )
            case ToolCallSettled():
                self._settle(event)
            case ToolCallCompleted() | ToolCallError():
                self._done(event.tool, at)
                return True
            case _:
                pass
        return False

    def resume_inline(self, at: datetime) -> None:
        """Calls that a person let run, or gave their arguments, are executed by the agent worker from now on."""
        for call in self._calls.values():
            is_inline = call.record is not None and not call.record.external_execution_required
            if is_inline and call.answer is not None and not call.attempts and call.outcome is None:
                call.attempts.append(Attempt(began_at=at))

    def complete(self, record: ToolExecution) -> None:
        """Fill in what the run's own record of a call knows, where no event has told it."""
        call = self._call(record.step, record.tool_call_id, record.tool_name)
        call.record, call.pool = record, call.pool or record.pool
        call.asked_at = call.asked_at or record.created_at
        if record.outcome is None:
            return
        call.outcome = call.outcome or record.outcome
        self._measure(call, record, None)
        if call.answer is None and record.answered_at is not None:
            call.answer = _answer(record)

    def _start(self, tool: ToolExecution, at: datetime) -> None:
        call = self._call(tool.step, tool.tool_call_id, tool.tool_name)
        call.record, call.pool, call.asked_at = tool, tool.pool, call.asked_at or at
        if not tool.is_paused and not tool.external_execution_required:
            call.attempts.append(Attempt(began_at=at))

    def _execute(self, event: ToolCallExecuting) -> None:
        call = self._call(event.step, event.tool_call_id, event.tool_name)
        for before in call.attempts:
            if before.outcome is None:
                before.outcome = CallOutcome.LOST  # whoever executes a call to its end tells so
        attempt = self._attempt(call, event.attempt)
        attempt.worker, attempt.sandbox_level = event.worker, event.sandbox_level
        attempt.queued_seconds, attempt.began_at = event.queue_wait_seconds, event.created_at
        call.pool, call.settled_at, call.outcome = event.pool, None, None

    def _settle(self, event: ToolCallSettled) -> None:
        call, at = self._call(event.step, event.tool_call_id, event.tool_name), event.created_at
        call.settled_at, call.outcome = at, event.outcome
        if event.answered_at is not None:
            call.answer = Answer(
                decision="denied" if event.outcome is CallOutcome.DENIED else "answered",
                by=event.answered_by,
                at=event.answered_at,
                note=_note(event),
            )
        elif call.attempts or event.attempt is not None:
            attempt = self._attempt(call, event.attempt)
            attempt.worker = attempt.worker or event.worker
            attempt.ended_at, attempt.outcome, attempt.executed_seconds = at, event.outcome, event.wall_seconds

    def _done(self, tool: ToolExecution, at: datetime) -> None:
        call = self._call(tool.step, tool.tool_call_id, tool.tool_name)
        call.is_done, call.record, call.pool = True, tool, tool.pool or call.pool
        call.settled_at, call.outcome = call.settled_at or at, tool.outcome or CallOutcome.SUCCEEDED
        self._measure(call, tool, at)
        if call.answer is None and tool.answered_at is not None:
            call.answer = _answer(tool)

    def _measure(self, call: Call, tool: ToolExecution, at: datetime | None) -> None:
        """What was measured of the last attempt, where its own events did not tell: inline, or they are gone."""
        metrics = tool.metrics
        if metrics is None or metrics.attempt is None:
            return
        attempt = self._attempt(call, metrics.attempt)
        attempt.worker, attempt.sandbox_level = attempt.worker or metrics.worker, metrics.sandbox_level
        if attempt.executed_seconds is None:
            attempt.executed_seconds = metrics.wall_seconds
        if attempt.queued_seconds is None:
            attempt.queued_seconds = metrics.queue_wait_seconds
        attempt.outcome = attempt.outcome or tool.outcome
        if at is not None and attempt.ended_at is None and tool.pool is None:
            attempt.ended_at = at
            # Inline calls of a batch are told together and may be executed one after the other.
            own = at - timedelta(seconds=metrics.wall_seconds or 0)
            attempt.began_at = max(own, attempt.began_at or own)

    def _call(self, step: int, tool_call_id: str, tool_name: str) -> Call:
        known = self._calls.get((step, tool_call_id))
        if known is None:
            known = Call(step=step, tool_call_id=tool_call_id, tool_name=tool_name)
            self._calls[step, tool_call_id] = known
            self.entries(step).append(known)
        return known

    def _attempt(self, call: Call, number: int | None) -> Attempt:
        """The attempt of that number; without one, the last."""
        found = [attempt for attempt in call.attempts if number in (None, attempt.number)]
        if found:
            return found[-1]
        call.attempts.append(Attempt(number=number or 1))
        return call.attempts[-1]


def _note(event: RunEvent) -> str | None:
    return str(event.content) if event.content else None


def _answer(record: ToolExecution) -> Answer:
    return Answer(
        decision=_DECISIONS[record.confirmed],
        by=record.answered_by,
        at=record.answered_at,
        note=record.confirmation_note,
        changed_arguments=record.requested_args is not None,
    )
