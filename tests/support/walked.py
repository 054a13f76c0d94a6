"""What must be true of a run of "Everything at once", whatever happened on its way."""

from __future__ import annotations

from collections import Counter

from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome
from queues.client import RunHandle

BOUND = 60


def must_be_whole(run: RunHandle, output: RunOutput) -> None:
    """It is done, with one answer per call in call order, no call was begun twice, and it had one end."""
    assert output.status is RunStatus.COMPLETED, (output.status, output.error)
    told = [message.tool_call_id for message in output.messages if message.role == "tool"]
    assert told == [call.tool_call_id for call in output.tools] and len(told) == 3
    assert [message.role for message in output.messages[-5:]] == ["assistant", "tool", "tool", "tool", "assistant"]
    events = list(run.events(timeout=BOUND))
    begun = Counter(getattr(event, "tool_call_id", "") for event in events if event.event == "ToolCallExecuting")
    assert set(begun.values()) <= {1}
    assert [event.event for event in events].count("RunCompleted") == 1


def lost(output: RunOutput) -> set[str]:
    """Its calls of which nobody knows whether they took effect; all others succeeded."""
    ends = [(call.outcome, call.result) for call in output.tools]
    assert {outcome for outcome, _ in ends} <= {CallOutcome.SUCCEEDED, CallOutcome.LOST}, ends
    return {call.tool_call_id for call in output.tools if call.outcome is CallOutcome.LOST}
