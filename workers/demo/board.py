"""Where the demo's runs and calls are, gathered from their events: one view per run, which draws nothing itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

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
from agent_core.tools.execution import CallOutcome, ToolExecution
from workers.showing.calls import call_words, place_words


@dataclass
class CallView:
    """Where a call is now."""

    words: str
    place: str
    state: str
    waited_seconds: float | None = None
    took_seconds: float | None = None


@dataclass
class RunView:
    """Where a run and its calls are now."""

    prompt: str
    run_id: str
    submitted_at: datetime
    state: str = "queued"
    is_over: bool = False
    pauses: int = 0
    took_seconds: float | None = None
    calls: dict[tuple[int, str], CallView] = field(default_factory=dict)

    def apply(self, event: RunEvent) -> None:
        """Take an event in; they come in order, each once."""
        match event:
            case RunStarted():
                self.state = "with the model"
            case ToolCallStarted():
                self.calls[_key(event, event.tool)] = _started(event.tool)
            case ToolCallExecuting():
                self._executing(event)
            case ToolCallSettled():
                self._settled(event)
            case ToolCallCompleted() | ToolCallError():
                view = self.calls.get(_key(event, event.tool))
                if view is not None:
                    view.state = f"{event.tool.outcome or CallOutcome.SUCCEEDED}"
            case RunPaused():
                self.pauses += 1
                self.state = "paused, held by nobody"
            case RunContinued():
                self.state = "continued, with the model"
            case RunCompleted() | RunError() | RunCancelled():
                self.state = {"RunCompleted": "completed", "RunError": "ERROR"}.get(event.event, "cancelled")
                self.is_over = True
                self.took_seconds = max(0.0, (event.created_at - self.submitted_at).total_seconds())
            case _:
                pass

    def _executing(self, event: ToolCallExecuting) -> None:
        view = self.calls.get((event.step, event.tool_call_id))
        if view is not None:
            view.place = f"pool {event.pool}, sandbox {event.sandbox_level}"
            view.state = "executing"
            view.waited_seconds = event.queue_wait_seconds

    def _settled(self, event: ToolCallSettled) -> None:
        view = self.calls.get((event.step, event.tool_call_id))
        if view is not None:
            view.state = f"{event.outcome}, settled"
            view.took_seconds = event.wall_seconds


def _key(event: RunEvent, call: ToolExecution) -> tuple[int, str]:
    return (call.step or event.step, call.tool_call_id)


def _started(call: ToolExecution) -> CallView:
    return CallView(call_words(call), place_words(call), state="queued" if call.is_paused else "executing")
