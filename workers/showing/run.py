"""One run as people read it: where it stands, the tree of what happened with its timings, and what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import ToolExecution
from workers.showing.amounts import age, elapsed, lasted, moment
from workers.showing.branches import print_branches
from workers.showing.calls import place_of, ways_to_answer
from workers.showing.run_tree import branches_of
from workers.terminal import say
from workers.timeline.values import Timeline

STYLES = {
    RunStatus.COMPLETED: "green",
    RunStatus.ERROR: "red",
    RunStatus.CANCELLED: "red",
    RunStatus.PAUSED: "yellow",
    RunStatus.RUNNING: "cyan",
    RunStatus.PENDING: "default",
}

_PARKED = "parked: "  # how the reason of a run begins that no worker at hand can carry on


def print_run(
    output: RunOutput,
    timeline: Timeline,
    *,
    unanswered: Sequence[ToolExecution] = (),
    now: datetime | None = None,
) -> None:
    """One run as far as it has come; `unanswered` are the calls that it still waits for."""
    now = now or datetime.now(UTC)
    say(f"run      {output.run_id}")
    say(f"agent    {output.agent_name}")
    say(f"status   {output.status.value}", style=STYLES[output.status])
    say(f"created  {moment(output.created_at)}, {age((now - output.created_at).total_seconds())} ago")
    if timeline.started_at is not None:
        say(f"took     {_times(output, timeline, now)}")
    if output.metrics.model_calls:
        say(f"tokens   {_tokens(output)}")
    say(f"input    {output.input}")
    if output.error and not output.status.is_finished:
        parked = output.error.removeprefix(_PARKED)
        say(f"parked   {parked}" if parked != output.error else f"before   {output.error}", style="yellow")
    branches = branches_of(timeline, now=now, unanswered={place_of(call): call for call in unanswered})
    if branches:
        say()
        print_branches(branches)
    if timeline.is_cut:
        say("The run told more than is shown here; `errandry follow` shows all of it.", style="yellow")
    ways = ways_to_answer(output.run_id, unanswered)
    if output.status is RunStatus.ERROR:
        ways.append(f"errandry retry {output.run_id}      (goes on from where it stopped)")
    if ways:
        say()
    for way in ways:
        say(way, style="yellow")
    if output.status.is_finished:
        say()
        print_end(output)


def print_end(output: RunOutput) -> None:
    """What has come of a run that is over."""
    if output.status is RunStatus.COMPLETED:
        say(str(output.content or ""))
    else:
        say(f"{output.status.value}: {output.error or 'no reason was given'}", style="red")


def _times(output: RunOutput, timeline: Timeline, now: datetime) -> str:
    """The run's own time: who submits it has another clock, so what it waited at first is not counted in."""
    until = timeline.ended_at or now
    words = lasted(elapsed(timeline.started_at, until))
    if not output.status.is_finished:
        words += " so far"
    if timeline.pauses:
        paused = sum(elapsed(pause.began_at, pause.ended_at or until) or 0 for pause in timeline.pauses)
        words += f", {lasted(paused)} of it paused"
    return words


def _tokens(output: RunOutput) -> str:
    usage = output.metrics
    calls = f"{usage.model_calls} model {'call' if usage.model_calls == 1 else 'calls'}"
    return f"{usage.total_tokens:,}: {usage.input_tokens:,} in, {usage.output_tokens:,} out, in {calls}"
