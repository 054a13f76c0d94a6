"""Plain values: ids, outputs, snapshots, events; what is stored reads back as it was."""

import json
import re
from typing import Any

import pytest

from agent_core.agent import Agent
from agent_core.errors import AgentError, ModelError, SnapshotSchemaError
from agent_core.events import RunError, RunEvent, ToolCallExecuting, ToolCallSettled, event_from_dict
from agent_core.identifiers import new_id, new_run_id, new_session_id
from agent_core.messages import Usage
from agent_core.models.scripted import ScriptedModel, Turn, call
from agent_core.run import RunOutput, RunResponse, RunSnapshot, RunStatus
from agent_core.text import well_formed
from agent_core.tools import tool
from agent_core.tools.execution import (
    CallMetrics,
    CallOutcome,
    CallResult,
    Confirmation,
    ToolExecution,
    UserInput,
    encode_result,
    parse_answer,
)


@tool(external_execution=True)
def shell(command: str) -> str:
    """Run a command."""
    return command


@tool
def add(x: int, y: int) -> int:
    """Add."""
    return x + y


def paused_run() -> tuple[Agent, RunOutput]:
    agent = Agent(
        model=ScriptedModel([[call("shell", command="ls"), call("add", x=1, y=2)], "done"]), tools=[shell, add]
    )
    return agent, agent.run("go")


def test_ids_sort_by_time_and_differ() -> None:
    earlier, later = new_id("run", clock=lambda: 1.0), new_id("run", clock=lambda: 2.0)

    assert earlier < later
    assert re.fullmatch(r"run_[0-9a-hjkmnp-tv-z]{26}", new_run_id())
    assert new_session_id().startswith("ses_")
    assert new_id("x", clock=lambda: 0.0, random_bits=lambda bits: 1) == f"x_{'0' * 25}1"


def test_an_output_survives_the_way_through_json() -> None:
    _, run = paused_run()

    again = RunOutput.from_dict(json.loads(run.to_json()))

    assert again.to_dict() == run.to_dict()
    assert again.is_paused and [c.tool_name for c in again.tools_awaiting_external_execution] == ["shell"]
    assert RunResponse is RunOutput


def test_a_snapshot_survives_the_way_through_json() -> None:
    agent, run = paused_run()
    snapshot = agent.db.load(run.run_id)

    assert snapshot is not None
    assert RunSnapshot.from_json(snapshot.to_json()) == snapshot
    assert [entry.tool_name for entry in snapshot.pending] == ["shell"]


@pytest.mark.parametrize(
    ("raw", "word"),
    [('{"schema": 2}', "Upgrade"), ("{}", "no snapshot"), ("[]", "no snapshot"), ("x", "no snapshot"),
     ('{"schema": 1}', "no snapshot")],
)  # fmt: skip
def test_a_snapshot_of_another_schema_is_refused(raw: str, word: str) -> None:
    with pytest.raises(SnapshotSchemaError, match=word):
        RunSnapshot.from_json(raw)


def test_statuses_are_their_names() -> None:
    assert [str(status) for status in RunStatus] == ["PENDING", "RUNNING", "PAUSED", "COMPLETED", "CANCELLED", "ERROR"]
    assert [status for status in RunStatus if status.is_finished] == ["COMPLETED", "CANCELLED", "ERROR"]


@pytest.mark.parametrize(
    "answer",
    [
        CallResult(outcome=CallOutcome.TIMED_OUT, content="late", metrics=CallMetrics(pool="p", attempt=2)),
        Confirmation(confirmed=False, note="no"),
        UserInput(values={"a": [1, {"b": None}]}),
    ],
)
def test_answers_are_told_apart_by_their_kind(answer: Any) -> None:
    assert parse_answer(answer.model_dump_json()) == answer


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"kind": "result"}', b'{"kind": "forged", "content": "x"}'])
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"validation error"):
        parse_answer(raw)


def circle() -> list[object]:
    ring: list[object] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize("value", [object(), b"\xff", circle(), {"deep": {"deeper": object()}}, type])
def test_what_json_cannot_hold_is_a_type_error_naming_the_tool(value: object) -> None:
    with pytest.raises(TypeError, match="'shell'"):
        encode_result(value, tool_name="shell")


def test_every_event_reads_back_as_its_own_kind() -> None:
    agent, run = paused_run()
    run.tools[0].result = "files"
    events: list[RunEvent] = [*run.events, *agent.continue_run(run).events]
    common = {"run_id": "r", "agent_name": "a", "tool_call_id": "c", "tool_name": "shell", "pool": "p", "worker": "w"}
    events.append(ToolCallExecuting.model_validate(common))
    events.append(ToolCallSettled.model_validate(common | {"outcome": "lost"}))

    for event in events:
        again = event_from_dict(json.loads(json.dumps(event.to_dict())))
        assert type(again) is type(event) and again == event
    assert len({event.event for event in events}) == 8


def test_an_unknown_event_is_refused_and_a_cause_is_not_stored() -> None:
    with pytest.raises(AgentError, match="'RunExploded'"):
        event_from_dict({"event": "RunExploded"})
    error = RunError(run_id="r", agent_name="a", content="down").caused_by(ModelError("down"))
    assert "down" in str(error.cause) and "cause" not in str(error.to_dict())


def test_events_seen_earlier_do_not_change_later() -> None:
    agent, _ = paused_run()
    started = [e for e in agent.run("go", stream=True, stream_events=True) if e.event == "ToolCallStarted"]  # type: ignore[union-attr]

    assert [event.tool.result for event in started] == [None, None]  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [False, True])
def test_text_that_utf8_cannot_hold_is_mended_wherever_it_comes_in(stream: bool) -> None:
    turns: list[Turn] = [[call("shell\ud800", call_id="c\ud800")], "half \ud83d", ModelError("bad \udcff")]
    agent = Agent(model=ScriptedModel(turns), tools=[add])
    if stream:
        *_, output = agent.run("in \udcff", stream=True, yield_run_output=True)
    else:
        output = agent.run("in \udcff")

    assert isinstance(output, RunOutput)
    assert (output.input, output.content) == ("in \ufffd", "half \ufffd")
    assert output.messages[2].tool_call_id == "c\ufffd"
    assert well_formed("\ud83d\ude00") == "\U0001f600"


def test_usage_adds_up() -> None:
    one = Usage(input_tokens=1, output_tokens=2, total_tokens=3, cached_tokens=1, reasoning_tokens=1, model_calls=1)
    assert one + one == Usage(
        input_tokens=2, output_tokens=4, total_tokens=6, cached_tokens=2, reasoning_tokens=2, model_calls=2
    )


def test_a_call_waits_until_it_is_answered_in_its_own_way() -> None:
    plain = ToolExecution(tool_call_id="c", tool_name="t")
    assert not plain.is_paused
    external = plain.model_copy(update={"external_execution_required": True})
    assert external.is_paused and not external.model_copy(update={"result": ""}).is_paused
    confirmation = plain.model_copy(update={"requires_confirmation": True})
    assert confirmation.is_paused and not confirmation.model_copy(update={"confirmed": False}).is_paused
