"""What people read of runs: lines in a terminal or a pipe; colour only on a terminal.

Never lets a control character of a model, a tool or a producer reach the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache

from rich.console import Console
from rich.text import Text

from agent_core.events import (
    RunCancelled,
    RunCompleted,
    RunContinued,
    RunError,
    RunEvent,
    RunPaused,
    RunStarted,
    ToolCallCompleted,
    ToolCallError,
    ToolCallExecuting,
    ToolCallSettled,
    ToolCallStarted,
)
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome, ToolExecution
from queues.client import RunHandle

Place = tuple[int, str]
"""Step and id of a call, since providers use ids again."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ARGUMENT_CHARACTERS = 60
_PARKED = "parked: "  # how the reason of a run begins that no worker at hand can carry on
_STYLES = {
    RunStatus.COMPLETED: "green",
    RunStatus.ERROR: "red",
    RunStatus.CANCELLED: "red",
    RunStatus.PAUSED: "yellow",
    RunStatus.RUNNING: "cyan",
    RunStatus.PENDING: "default",
}


@cache
def console() -> Console:
    """Standard output: plain and unwrapped in a pipe, coloured on a terminal."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str = "", *, style: str = "default") -> None:
    """Print a line of ours or of others; what would steer the terminal is shown as a question mark."""
    console().print(Text(clean(text), style=style))


def clean(text: str) -> str:
    """The text without characters that steer a terminal; line ends and tabs stay."""
    return _CONTROL.sub("?", text.replace("\r\n", "\n"))


def call_words(call: ToolExecution) -> str:
    """A call as one would write it, with its arguments cut short."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.tool_args.items())
    if len(arguments) > _ARGUMENT_CHARACTERS:
        arguments = f"{arguments[: _ARGUMENT_CHARACTERS - 1]}…"
    return f"{call.tool_name}({arguments})"


def place_words(call: ToolExecution) -> str:
    """Where the answer to a call comes from."""
    if call.requires_confirmation:
        return "a person's yes or no"
    if call.requires_user_input:
        return "a person's input"
    if not call.external_execution_required:
        return "the agent worker"
    return f"pool {call.pool}" if call.pool else "a person's result"


def event_words(event: RunEvent, *, settled: Container[Place] = ()) -> str | None:
    """What happened, in a few words; None for what is not worth a line. `settled` are the calls settled before it."""
    match event:
        case RunStarted():
            return "started"
        case ToolCallStarted():
            verb = "waits for" if event.tool.is_paused else "executes in"
            return f"{call_words(event.tool)} {verb} {place_words(event.tool)}"
        case ToolCallExecuting():
            attempt = f", attempt {event.attempt}" if event.attempt > 1 else ""
            return (
                f"{event.tool_name} executes in pool {event.pool}, sandbox {event.sandbox_level}{attempt}, "
                f"after {_seconds(event.queue_wait_seconds)} in the queue"
            )
        case ToolCallSettled():
            where = f"in pool {event.pool}" if event.pool else "by a person"
            took = f" after {_seconds(event.wall_seconds)}" if event.wall_seconds is not None else ""
            return f"{event.tool_name} {event.outcome} {where}{took}"
        case ToolCallCompleted() | ToolCallError() if event.tool.pool is None:
            return f"{event.tool.tool_name} {event.tool.outcome or CallOutcome.SUCCEEDED}"
        case RunPaused():
            return f"paused; waits for {_awaited(call for call in event.tools or () if _place(call) not in settled)}"
        case RunContinued():
            return "continued"
        case RunCompleted():
            return "completed"
        case RunCancelled():
            return "cancelled"
        case RunError():
            return "ended in an error"
        case _:
            return None


def follow_run(run: RunHandle, *, as_json: bool) -> int:
    """Print the events of a run until its end, then its answer; returns 0 if it completed, else 1."""
    beginning: datetime | None = None
    settled: set[Place] = set()
    for event in run.events():
        if as_json:
            print_plain(event.model_dump_json(exclude_none=True))
            continue
        beginning = beginning or event.created_at
        if isinstance(event, ToolCallSettled):
            settled.add((event.step, event.tool_call_id))
        words = event_words(event, settled=settled)
        if words is not None:
            say(f"{(event.created_at - beginning).total_seconds():7.2f} s  {words}")
        if isinstance(event, RunPaused) and _ways_to_answer(run.run_id, event.tools or ()):
            # Of those that are asked for now: the pause may be long over.
            for line in _ways_to_answer(run.run_id, run.pending()):
                say(f"{'':11}{line}", style="yellow")
    output = run.output()
    if not as_json:
        say()
        _print_end(output)
    return 0 if output.status is RunStatus.COMPLETED else 1


def print_plain(text: str) -> None:
    """Print for machines: the text as it is, without wrapping and colour."""
    console().file.write(f"{text}\n")
    console().file.flush()


def print_runs(outputs: Sequence[RunOutput], *, now: datetime | None = None) -> None:
    """One line for each run."""
    now = now or datetime.now(UTC)
    for output in outputs:
        line = Text(f"{output.run_id}  ")
        line.append(f"{output.status.value:<9}", style=_STYLES[output.status])
        age = _age((now - output.created_at).total_seconds())
        line.append(f"  {clean(output.agent_name):<16}  {age:>5}  {clean(' '.join(output.input.split()))}")
        if console().is_terminal:
            line.truncate(console().width, overflow="ellipsis")
        console().print(line)
    if not outputs:
        say("no runs")


def print_run(output: RunOutput, *, unanswered: Sequence[ToolExecution] = ()) -> None:
    """One run as far as it has come; `unanswered` are the calls that it still waits for."""
    say(f"run      {output.run_id}")
    say(f"agent    {output.agent_name}")
    say(f"status   {output.status.value}", style=_STYLES[output.status])
    say(f"created  {output.created_at:%Y-%m-%d %H:%M:%S} UTC")
    say(f"input    {output.input}")
    for call in output.tools:
        waits = any(_place(call) == _place(other) for other in unanswered)
        say(f"call     step {call.step}: {call_words(call)}: {_call_end(call, waits=waits)}")
    for line in _ways_to_answer(output.run_id, unanswered):
        say(line, style="yellow")
    if output.error and not output.status.is_finished:
        parked = output.error.removeprefix(_PARKED)
        say(f"parked   {parked}" if parked != output.error else f"before   {output.error}", style="yellow")
    if output.status is RunStatus.ERROR:
        say(f"errandry retry {output.run_id}      (goes on from where it stopped)", style="yellow")
    if output.status.is_finished:
        say()
        _print_end(output)


def print_pending(run_id: str, calls: Sequence[ToolExecution]) -> None:
    """The calls that a run waits for, and how people answer theirs."""
    for call in calls:
        say(f"{call.tool_call_id}  {call_words(call)} waits for {place_words(call)}")
    for line in _ways_to_answer(run_id, calls):
        say(line, style="yellow")
    if not calls:
        say(f"{run_id} waits for nothing")


def _print_end(output: RunOutput) -> None:
    if output.status is RunStatus.COMPLETED:
        say(str(output.content or ""))
    else:
        say(f"{output.status.value}: {output.error or 'no reason was given'}", style="red")


def _place(call: ToolExecution) -> Place:
    return call.step, call.tool_call_id


def _call_end(call: ToolExecution, *, waits: bool) -> str:
    if call.outcome is None and waits:
        return f"waits for {place_words(call)}"
    if call.outcome is None:
        return "answered; the run goes on once all are" if call.is_paused else "not settled yet"
    metrics = call.metrics
    if metrics is None or metrics.pool is None:
        return str(call.outcome)
    return (
        f"{call.outcome} in pool {metrics.pool}, sandbox {metrics.sandbox_level}, "
        f"{_seconds(metrics.queue_wait_seconds)} in the queue, {_seconds(metrics.wall_seconds)} executing"
    )


def _ways_to_answer(run_id: str, calls: Iterable[ToolExecution]) -> list[str]:
    """The command that answers each call that waits for a person."""
    ways = []
    for call in calls:
        if not call.is_paused:
            continue
        address = f"{run_id} {call.tool_call_id}"
        if call.requires_confirmation:
            ways.append(f"errandry approve {address}      (or with --deny)")
        elif call.requires_user_input:
            wanted = " ".join(f"{field.name}=…" for field in call.user_input_schema or ())
            ways.append(f"errandry answer {address} {wanted}")
        elif call.pool is None:
            ways.append(f"errandry settle {address} --result '…'      (or --error)")
    return ways


def _awaited(calls: Iterable[ToolExecution]) -> str:
    return ", ".join(dict.fromkeys(place_words(call) for call in calls if call.is_paused)) or "its results"


def _seconds(duration: float | None) -> str:
    return "?" if duration is None else f"{duration:.2f} s"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"
