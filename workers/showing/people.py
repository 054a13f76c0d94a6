"""What people are asked: the calls that runs wait for, and how each of them is answered."""

from __future__ import annotations

from collections.abc import Sequence

from agent_core.tools.execution import ToolExecution
from queues.waiting_runs import WaitingRun
from workers.showing.calls import call_words, place_words, ways_to_answer
from workers.terminal import one_line, say


def print_pending(run_id: str, calls: Sequence[ToolExecution]) -> None:
    """The calls that a run waits for, and how people answer theirs."""
    for call in calls:
        say(f"{call.tool_call_id}  {call_words(call)} waits for {place_words(call)}")
    for line in ways_to_answer(run_id, calls):
        say(line, style="yellow")
    if not calls:
        say(f"{run_id} waits for nothing")


def print_waiting(runs: Sequence[WaitingRun]) -> None:
    """The runs that wait for people, and how these answer."""
    for run in runs:
        say(f"{run.output.run_id}  {run.output.agent_name}  {one_line(run.output.input)}", style="bold")
        for call in run.calls:
            say(f"  {call.tool_call_id}  {call_words(call)} waits for {place_words(call)}")
        for line in ways_to_answer(run.output.run_id, run.calls):
            say(f"  {line}", style="yellow")
    if not runs:
        say("no run waits for people")
