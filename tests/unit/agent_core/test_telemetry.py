"""What operators are told of a run's model turns and inline calls, in all four ways to run an agent."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

import pytest

from agent_core import telemetry
from agent_core.agent import Agent
from agent_core.errors import ModelError
from agent_core.models.scripted import ScriptedModel, call
from agent_core.tools import tool
from tests.support.run_modes import RUN_MODES, RunMode

Told = list[tuple[str, Mapping[str, object]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    heard: Told = []
    monkeypatch.setattr(telemetry, "_listeners", [lambda event, fields: heard.append((event, dict(fields)))])
    yield heard


@tool
def double(number: int) -> int:
    """Double a number."""
    if number < 0:
        raise ValueError("no negative numbers")
    return 2 * number


@pytest.mark.parametrize("mode", RUN_MODES, ids=str)
def test_turns_and_inline_calls_are_told_as_they_begin_and_end(told: Told, mode: RunMode) -> None:
    model = ScriptedModel([call("double", number=4), call("double", number=-1), "Eight."], id="oracle")
    agent = Agent(name="counter", model=model, tools=[double])
    output = mode.run(agent, "Double 4")
    assert [event for event, _ in told] == [
        *("model.asked", "model.answered", "inline.begun", "inline.executed"),
        *("model.asked", "model.answered", "inline.begun", "inline.executed"),
        *("model.asked", "model.answered"),
    ]
    answered = [fields for event, fields in told if event == "model.answered"]
    assert [(a["run_id"], a["step"], a["agent"], a["model"], a["outcome"]) for a in answered] == [
        (output.run_id, step, "counter", "oracle", "answered") for step in (1, 2, 3)
    ]
    assert sum(int(str(a["input_tokens"])) for a in answered) == output.metrics.input_tokens
    assert sum(int(str(a["output_tokens"])) for a in answered) == output.metrics.output_tokens
    executed = [fields for event, fields in told if event == "inline.executed"]
    assert [(e["tool_name"], e["outcome"]) for e in executed] == [("double", "succeeded"), ("double", "failed")]
    assert [e["tool_call_id"] for e in executed] == [tool.tool_call_id for tool in output.tools]


@pytest.mark.parametrize("mode", RUN_MODES, ids=str)
def test_a_model_that_fails_is_told_as_failed_each_time(told: Told, mode: RunMode) -> None:
    model = ScriptedModel([ModelError("busy", retryable=True), "At last."])
    mode.run(Agent(model=model, retries=1, retry_delay_seconds=0), "Go")
    assert [fields["outcome"] for event, fields in told if event == "model.answered"] == ["failed", "answered"]


def test_a_reply_that_nobody_hears_out_is_told_as_stopped(told: Told) -> None:
    events = Agent(model=ScriptedModel(["one two three"])).run("Count", stream=True)
    assert isinstance(events, Generator)
    next(events)
    events.close()
    assert [fields["outcome"] for event, fields in told if event == "model.answered"] == ["stopped"]


def test_an_event_with_other_fields_than_the_table_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lease\.lost"):
        telemetry.emit("lease.lost", sort="run")
