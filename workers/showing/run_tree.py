"""A timeline as a tree of lines: steps, and in each of them model turns, tool calls with their attempts, and pauses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from agent_core.tools.execution import CallOutcome, ToolExecution
from workers.showing.amounts import elapsed, lasted, moment
from workers.showing.branches import Branch
from workers.showing.calls import Place, by, call_words, place_words
from workers.timeline.values import Answer, Attempt, Call, Pause, Step, Timeline, Turn


def branches_of(timeline: Timeline, *, now: datetime, unanswered: Mapping[Place, ToolExecution]) -> list[Branch]:
    """A tree for each step. `unanswered` are the calls that the run waits for, `now` is until when it has waited."""
    return [_Drawing(timeline, now, unanswered).step(step) for step in timeline.steps]


class _Drawing:
    def __init__(self, timeline: Timeline, now: datetime, unanswered: Mapping[Place, ToolExecution]) -> None:
        self._now = timeline.ended_at or now
        self._has_ended = timeline.ended_at is not None
        self._unanswered = unanswered

    def step(self, step: Step) -> Branch:
        branch = Branch(f"step {step.step}", "bold")
        for entry in step.entries:
            match entry:
                case Turn():
                    branch.below.append(self._turn(entry, len(step.calls)))
                case Call():
                    branch.below.append(self._call(entry))
                case Pause():
                    branch.below.append(self._pause(entry))
        return branch

    def _turn(self, turn: Turn, calls: int) -> Branch:
        took = lasted(elapsed(turn.began_at, turn.ended_at or self._now))
        match turn.end:
            case None:
                words, style = f"model turn  under way for {took}", "cyan"
            case "asked for calls":
                words, style = f"model turn  {took}, asked for {calls} {'call' if calls == 1 else 'calls'}", "default"
            case "void":
                words, style = f"model turn  {took}, void: its worker died or left, the model was asked anew", "yellow"
            case "failed" | "cancelled":
                words, style = f"model turn  {took}, {turn.end}", "red"
            case "answered":
                words, style = f"model turn  {took}, answered", "default"
        first = elapsed(turn.began_at, turn.first_text_at)
        return Branch(words if first is None else f"{words}; first text after {lasted(first)}", style)

    def _call(self, call: Call) -> Branch:
        waiting = self._unanswered.get((call.step, call.tool_call_id))
        record = waiting or call.record
        name = call_words(record) if record is not None else f"{call.tool_name}(…)"
        state, style = self._state(call, waiting)
        return Branch(f"{name}: {state}", style, [Branch(line, "dim") for line in self._details(call)])

    def _state(self, call: Call, waiting: ToolExecution | None) -> tuple[str, str]:
        last = call.attempts[-1] if call.attempts else None
        if waiting is not None and last is not None and last.outcome is None:
            return f"executes in {self._where(call)} for {lasted(elapsed(last.began_at, self._now))}", "cyan"
        if waiting is not None:
            since = call.answer.at if call.answer is not None and call.answer.at is not None else call.asked_at
            waited = lasted(elapsed(since, self._now))
            words = f"waits for {place_words(waiting)}, for {waited}"
            return f"{words} (since {moment(since)})" if since is not None else words, "yellow"
        if call.outcome is None and call.answer is not None:
            return "answered; the run goes on once all are", "cyan"
        if call.outcome is None and last is not None and last.outcome is None and not self._has_ended:
            return f"executes in {self._where(call)} for {lasted(elapsed(last.began_at, self._now))}", "cyan"
        if call.outcome is None:
            answered = call.record is not None and call.record.is_paused and not self._has_ended
            return ("answered; the run goes on once all are" if answered else "not settled yet"), "cyan"
        took = elapsed(call.asked_at, call.settled_at)
        after = f" after {lasted(took)}" if took is not None else ""
        style = "green" if call.outcome is CallOutcome.SUCCEEDED else "red"
        return f"{call.outcome}{f' in {self._where(call)}' if call.attempts else ''}{after}", style

    def _where(self, call: Call) -> str:
        return f"pool {call.pool}" if call.pool is not None else "the agent worker"

    def _details(self, call: Call) -> Iterator[str]:
        answer = call.answer
        if answer is not None:
            yield _answer_words(answer, call)
        before: Attempt | None = None
        for attempt in call.attempts:
            # An inline call is executed once, and its own line says all of it.
            if call.pool is not None:
                yield _attempt_words(attempt, before, self._now if not self._has_ended else None)
            before = attempt

    def _pause(self, pause: Pause) -> Branch:
        if pause.ended_at is None:
            return Branch(
                f"paused since {moment(pause.began_at)}, for {lasted(elapsed(pause.began_at, self._now))}", "yellow"
            )
        return Branch(f"paused for {lasted(elapsed(pause.began_at, pause.ended_at))}")


def _answer_words(answer: Answer, call: Call) -> str:
    changes = ", with changed arguments" if answer.changed_arguments else ""
    waited = elapsed(call.asked_at, answer.at)
    at = f" at {moment(answer.at)}" if answer.at is not None else ""
    after = f", after {lasted(waited)}" if waited is not None else ""
    note = f": {answer.note}" if answer.note else ""
    return f"{answer.decision}{by(answer.by)}{changes}{at}{after}{note}"


def _attempt_words(attempt: Attempt, before: Attempt | None, now: datetime | None) -> str:
    words = [f"attempt {attempt.number} on {attempt.worker}" if attempt.worker else f"attempt {attempt.number}"]
    waited = elapsed(before.ended_at, attempt.began_at) if before is not None else attempt.queued_seconds
    if waited is not None:
        words.append(f"{lasted(waited)} {'in the queue' if before is None else 'after the one before'}")
    executed = attempt.executed_seconds
    if executed is None:
        executed = elapsed(attempt.began_at, attempt.ended_at)
    if executed is not None:
        words.append(f"{lasted(executed)} executing")
    if attempt.outcome is not None:
        words.append("lost: its worker died" if attempt.outcome is CallOutcome.LOST else attempt.outcome.value)
    elif now is not None:
        words.append(f"executes for {lasted(elapsed(attempt.began_at, now))}")
    if attempt.sandbox_level is not None:
        words.append(f"sandbox {attempt.sandbox_level}")
    return ", ".join(words)
