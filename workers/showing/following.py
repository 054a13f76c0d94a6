"""Prints a run as it goes on: events, the model's text as it comes, what tools write, and the answer at its end.

On a terminal text appears piece by piece; in a pipe every line is whole.
"""

from __future__ import annotations

from datetime import datetime

from agent_core.events import RunContent, RunContinued, RunEvent, RunPaused, ToolCallOutput, ToolCallSettled
from agent_core.run import RunStatus
from queues.client import RunHandle
from workers.showing.calls import Place, ways_to_answer
from workers.showing.events import event_words
from workers.showing.lines import LiveLines, WholeLines
from workers.showing.run import print_end
from workers.terminal import console, print_json, say

_INDENT = " " * 11


def follow_run(run: RunHandle, *, as_json: bool) -> int:
    """Print the events of a run until its end, then its answer; returns 0 if it completed, else 1."""
    if as_json:
        for event in run.events():
            print_json(event.model_dump_json(exclude_none=True))
        return 0 if run.status() is RunStatus.COMPLETED else 1
    following = Following(run)
    try:
        for event in run.events():
            following.tell(event)
    finally:
        following.end_lines()
    output = run.output()
    if not (console().is_terminal and output.status is RunStatus.COMPLETED and following.has_said(output.content)):
        say()
        print_end(output)
    return 0 if output.status is RunStatus.COMPLETED else 1


class Following:
    """The lines of one run, event by event."""

    def __init__(self, run: RunHandle) -> None:
        self._run = run
        self._beginning: datetime | None = None
        self._settled: set[Place] = set()
        self._text: LiveLines | WholeLines | None = None
        self._outputs: dict[Place, WholeLines] = {}
        self._said: list[str] = []  # in the step under way
        self._step = 0

    def tell(self, event: RunEvent) -> None:
        """Print what happened."""
        self._beginning = self._beginning or event.created_at
        match event:
            case RunContent():
                self._say(event)
                return
            case ToolCallOutput():
                self._write(event)
                return
            case ToolCallSettled():
                self._settled.add((event.step, event.tool_call_id))
                self._end_output((event.step, event.tool_call_id))
            case _:
                pass
        self._end_text()
        words = event_words(event, settled=self._settled)
        if words is not None:
            say(f"{(event.created_at - self._beginning).total_seconds():7.2f} s  {words}")
        if isinstance(event, RunContinued) and event.voids_text:
            if self._said:
                say(f"{_INDENT}what it said of this step until now is void", style="yellow")
            self._said = []
        if isinstance(event, RunPaused) and ways_to_answer(self._run.run_id, event.tools or ()):
            # Of those that are asked for now: the pause may be long over.
            for line in ways_to_answer(self._run.run_id, self._run.pending()):
                say(f"{_INDENT}{line}", style="yellow")

    def has_said(self, content: object) -> bool:
        """Whether this is the very text that was told last."""
        return bool(self._said) and content == "".join(self._said)

    def end_lines(self) -> None:
        """Print what is left of lines that nobody has ended."""
        self._end_text()
        for place in list(self._outputs):
            self._end_output(place)

    def _say(self, event: RunContent) -> None:
        if event.step != self._step:
            self._end_text()
            self._said, self._step = [], event.step
        if self._text is None:
            prefix = f"{_INDENT}{event.agent_name} | "
            self._text = LiveLines(prefix) if console().is_terminal else WholeLines(prefix)
        self._said.append(str(event.content or ""))
        self._text.feed(self._said[-1])

    def _write(self, event: ToolCallOutput) -> None:
        if self._text is not None:
            self._text.give_way()
        place = event.step, event.tool_call_id
        if place not in self._outputs:
            # Behind the tool's name: calls of a step write at the same time.
            self._outputs[place] = WholeLines(f"{_INDENT}{event.tool_name} | ", style="dim")
        self._outputs[place].feed(event.content)

    def _end_text(self) -> None:
        if self._text is not None:
            self._text.end()
            self._text = None

    def _end_output(self, place: Place) -> None:
        if place in self._outputs:
            if self._text is not None:
                self._text.give_way()
            self._outputs.pop(place).end()
