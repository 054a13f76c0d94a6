"""Events as they go over the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent_core.events import RunCompleted, RunContent, RunEvent, RunPaused, ToolCallSettled
from agent_core.messages import Usage
from agent_core.tools.execution import ToolExecution
from workers.gateway.sse import framed

COMMON: dict[str, Any] = {"run_id": "run_1", "agent_name": "ops", "event_id": "5-0,shell=7-1"}
CALL = ToolExecution(tool_call_id="c", tool_name="t", tool_args={"key": [1, None, 1e20]}, pool="shell")


@pytest.mark.parametrize(
    "event",
    [
        RunContent(**COMMON, content="two\nlines\r\n, ü€😀,\u2028 and a \x00"),
        RunPaused(**COMMON, tools=[CALL]),
        RunCompleted(**COMMON, content={"an": ["object", 0.1]}, metrics=Usage(input_tokens=3)),
        ToolCallSettled(**COMMON, tool_call_id="c", tool_name="t", outcome="failed", wall_seconds=1e-7),
    ],
    ids=lambda event: str(event.event),
)
def test_a_frame_holds_all_of_an_event_on_one_line(event: RunEvent) -> None:
    whole = framed(event).decode()
    identity, name, data = whole.removesuffix("\n\n").split("\n")
    assert (identity, name) == ("id: 5-0,shell=7-1", f"event: {event.event}") and "\r" not in whole
    assert json.loads(data.removeprefix("data: ")) == event.to_dict()
