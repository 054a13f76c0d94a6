"""Folds the events of a run into its timeline, one after the other. Pure: the same events give the same timeline.

Events say when something came to an end, seldom when the next thing began. A model turn begins where the run does,
where the last result of a step was taken in, and where the model is asked anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from agent_core.events import (
    RunCancelled,
    RunCompleted,
    RunContent,
    RunContinued,
    RunError,
    RunEvent,
    RunPaused,
    RunStarted,
    ToolCallStarted,
)
from agent_core.run import RunOutput, RunStatus
from workers.timeline.calls import CallBook
from workers.timeline.values import Pause, Timeline, Turn, TurnEnd

MOST_EVENTS = 100_000


def timeline_of(events: Iterable[RunEvent], output: RunOutput) -> Timeline:
    """The timeline that the events of a run tell, from its first one on; what they lack is taken from its records.

    Of a run that told more than MOST_EVENTS it says that it is cut.
    """
    folding = Folding()
    for number, event in enumerate(events):
        if number == MOST_EVENTS:
            return folding.finish(output, is_cut=True)
        folding.take_in(event)
    return folding.finish(output)


class Folding:
    """A timeline that grows with each event. They come in order, each once; one of a newer kind changes nothing."""

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._calls = CallBook(self._timeline)
        self._turn: Turn | None = None
        self._pause: Pause | None = None
        self._asked: tuple[int, datetime] | None = None  # the step whose model turn is next, and since when

    def take_in(self, event: RunEvent) -> None:
        """Note what happened."""
        at = event.created_at
        match event:
            case RunStarted():
                self._timeline.started_at = at
                self._asked = event.step, at
            case RunContent():
                self._said(event)
            case RunPaused():
                self._resume(at)
                self._pause = Pause(step=event.step, began_at=at)
                self._calls.entries(event.step).append(self._pause)
            case RunContinued():
                self._continue(event)
            case RunCompleted():
                self._end(event, "answered")
            case RunError():
                self._end(event, "failed")
            case RunCancelled():
                self._end(event, "cancelled")
            case ToolCallStarted():
                if not self._calls.of_step(event.tool.step):
                    self._close(event.tool.step, at, "asked for calls")
                self._asked = None
                self._calls.take_in(event)
            case _:
                if self._calls.take_in(event) and self._calls.are_done(event.step):
                    self._asked = event.step + 1, at

    def finish(self, output: RunOutput, *, is_cut: bool = False) -> Timeline:
        """The timeline up to now, with what only the run's records tell."""
        self._timeline.is_cut = is_cut
        if self._asked is not None and output.status is RunStatus.RUNNING:
            self._turn_of(*self._asked)
        for record in output.tools:
            self._calls.complete(record)
        self._timeline.steps.sort(key=lambda step: step.step)
        return self._timeline

    def _said(self, event: RunContent) -> None:
        if self._calls.of_step(event.step):
            return  # a tool's result that is shown, and no words of the model
        turn = self._turn_of(event.step, event.created_at)
        turn.first_text_at = turn.first_text_at or event.created_at
        turn.characters += len(str(event.content or ""))

    def _continue(self, event: RunContinued) -> None:
        at = event.created_at
        self._resume(at)
        self._timeline.ended_at = None
        if not event.voids_text:
            self._calls.resume_inline(at)
            return
        # The worker died or left: of a turn that was not told to have begun nothing is known.
        if self._turn is not None:
            self._close(self._turn.step, at, "void")
        self._asked = event.step, at

    def _end(self, event: RunEvent, end: TurnEnd) -> None:
        at = event.created_at
        self._resume(at)
        # With calls in it the step ended otherwise: they were cancelled, or one of them ended the run.
        was_asked = self._turn is not None or self._asked is not None
        if was_asked and not self._calls.of_step(event.step):
            self._close(event.step, at, end)
        self._asked = self._turn = None
        self._timeline.ended_at = at

    def _resume(self, at: datetime) -> None:
        if self._pause is not None:
            self._pause.ended_at, self._pause = at, None

    def _close(self, step: int, at: datetime, end: TurnEnd) -> None:
        turn = self._turn_of(step, at)
        turn.ended_at, turn.end, self._turn = at, end, None

    def _turn_of(self, step: int, at: datetime) -> Turn:
        """The turn of a step that is under way; it began when the model was asked, as far as that was told."""
        if self._turn is not None and self._turn.step == step:
            return self._turn
        if self._turn is not None:
            # The reply did not fit the schema that was asked for, and the model was told so.
            self._turn.ended_at, self._turn.end = at, "answered"
        before = self._asked[1] if self._asked is not None else self._turn and self._turn.ended_at
        self._turn, self._asked = Turn(step=step, began_at=before), None
        self._calls.entries(step).append(self._turn)
        return self._turn
