"""What a run tells: its events, the messages of its tools, and what a tool learns of its call.

Never changes a run.
"""

from typing import Any, TypeVar

from agent_core.events import RunContent, RunEvent, ToolCallCompleted, ToolCallError, ToolCallStarted
from agent_core.messages import Message
from agent_core.run import RunSnapshot
from agent_core.text import well_formed
from agent_core.tools.context import RunContext
from agent_core.tools.execution import ToolExecution

Event = TypeVar("Event", bound=RunEvent)


def event_of(snapshot: RunSnapshot, kind: type[Event], **fields: Any) -> Event:
    """Return an event of the run as it stands."""
    output = snapshot.output
    common = {"run_id": output.run_id, "agent_name": output.agent_name, "session_id": output.session_id}
    return kind(**common, step=snapshot.step, **fields)


def content_event(snapshot: RunSnapshot, text: str) -> RunEvent:
    """Return a piece of text."""
    return event_of(snapshot, RunContent, content=well_formed(text))


def started_event(snapshot: RunSnapshot, call: ToolExecution) -> RunEvent:
    """Return the start of a call, with the call as it is now."""
    return event_of(snapshot, ToolCallStarted, tool=call.model_copy())


def settled_event(snapshot: RunSnapshot, call: ToolExecution) -> RunEvent:
    """Return the end of a settled call, with the call as it is now."""
    kind = ToolCallError if call.tool_call_error else ToolCallCompleted
    return event_of(snapshot, kind, tool=call.model_copy(), content=str(call.result))


def pause_words(snapshot: RunSnapshot) -> str:
    """Return what a paused run waits for, as a sentence."""
    waiting = (f"{call.tool_name}{' (approval)' if call.requires_approval else ''}" for call in snapshot.pending)
    return f"Paused: waiting for {', '.join(waiting)}."


def tool_message(call: ToolExecution) -> Message:
    """Return what the model gets to read of a settled call."""
    return Message(
        role="tool",
        content=call.message_text(),
        tool_call_id=call.tool_call_id,
        tool_name=call.tool_name,
        tool_call_error=bool(call.tool_call_error),
    )


def context_of(snapshot: RunSnapshot, call: ToolExecution) -> RunContext:
    """Return what a tool may learn of the call."""
    output = snapshot.output
    return RunContext(
        run_id=output.run_id,
        step=call.step,
        tool_call_id=call.tool_call_id,
        session_id=output.session_id,
        user_id=output.user_id,
    )
