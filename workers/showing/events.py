"""The events of a run in words, one line for each that is worth one. Prints nothing."""

from __future__ import annotations

from collections.abc import Container

from agent_core.events import (
    RunCancelled,
    RunCompleted,
    RunContinued,
    RunError,
    RunEvent,
    RunPaused,
    RunStarted,
    ToolCallAnswered,
    ToolCallCompleted,
    ToolCallError,
    ToolCallExecuting,
    ToolCallSettled,
    ToolCallStarted,
)
from agent_core.tools.execution import CallOutcome
from workers.showing.amounts import seconds
from workers.showing.calls import Place, awaited, by, call_words, place_of, place_words


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
                f"after {seconds(event.queue_wait_seconds)} in the queue"
            )
        case ToolCallAnswered():
            verb = "answered" if event.pool is None else "approved"
            changes = ", with changed arguments" if event.tool_args is not None else ""
            return f"{event.tool_name} {verb}{by(event.answered_by)}{changes}"
        case ToolCallSettled() if event.pool is None:
            is_theirs = event.answered_at is not None
            return f"{event.tool_name} {event.outcome}{by(event.answered_by) if is_theirs else ''}"
        case ToolCallSettled():
            where = f"in pool {event.pool}"
            took = f" after {seconds(event.wall_seconds)}" if event.wall_seconds is not None else ""
            return f"{event.tool_name} {event.outcome} {where}{took}"
        case ToolCallCompleted() | ToolCallError() if event.tool.pool is None:
            return f"{event.tool.tool_name} {event.tool.outcome or CallOutcome.SUCCEEDED}"
        case RunPaused():
            return f"paused; waits for {awaited(call for call in event.tools or () if place_of(call) not in settled)}"
        case RunContinued(voids_text=True):
            return "continued; the model is asked anew"
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
