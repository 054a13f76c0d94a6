"""What a pause and a continue mean, rule by rule, in all four modes where the mode could matter."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel

from agent_core.agent import Agent
from agent_core.errors import (
    InvalidAnswerError,
    MissingResultError,
    ModelError,
    RunAlreadyContinuedError,
    RunNotFoundError,
)
from agent_core.events import RunEvent
from agent_core.models.scripted import ScriptedModel, Turn, call
from agent_core.run import RunOutput, RunStatus
from agent_core.store import InMemoryRunStore
from agent_core.tools import Function, tool
from agent_core.tools.execution import CallOutcome, ToolExecution
from tests.support.run_modes import RUN_MODES, RunMode

modes = pytest.mark.parametrize("mode", RUN_MODES, ids=str)


@tool(external_execution=True)
def shell(command: str) -> str:
    """Run a command."""
    raise AssertionError("an external tool is never called by the agent")


@tool
def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


@tool
def explode() -> str:
    """Fail."""
    raise RuntimeError("boom")


def agent_of(*turns: Turn, tools: list[Function] | None = None, **settings: Any) -> Agent:
    return Agent(model=ScriptedModel(turns), tools=tools or [shell, add, explode], **settings)


def texts(output: RunOutput) -> list[str | None]:
    return [message.content for message in output.messages if message.role == "tool"]


def requests_of(agent: Agent) -> int:
    assert isinstance(agent.model, ScriptedModel)
    return len(agent.model.requests)


# 1. All results are validated before any state changes.


@modes
def test_a_missing_result_is_a_value_error_naming_the_tool_and_the_rest_can_be_supplied(mode: RunMode) -> None:
    agent = agent_of([call("shell", command="a"), call("shell", command="b")], "done")
    run = mode.run(agent, "go")
    first, second = run.tools_awaiting_external_execution
    first.result = "A"

    with pytest.raises(ValueError, match="'shell'") as caught:
        mode.continue_run(agent, run_id=run.run_id, updated_tools=run.tools)

    assert isinstance(caught.value, MissingResultError)
    stored = agent.get_run_output(run.run_id)
    assert stored is not None and stored.is_paused
    assert [c.tool_call_id for c in stored.tools_awaiting_external_execution] == [second.tool_call_id]
    assert requests_of(agent) == 1
    second.result = "B"
    output = mode.continue_run(agent, run_id=run.run_id, updated_tools=[second])
    assert output.status is RunStatus.COMPLETED
    assert texts(output) == ["A", "B"]


def test_one_bad_result_among_good_ones_changes_nothing() -> None:
    agent = agent_of([call("shell", command="a"), call("shell", command="b")], "done")
    run = agent.run("go")
    run.tools[0].result, run.tools[1].result = "A", object()
    before = agent.db.load(run.run_id)

    with pytest.raises(TypeError, match="'shell'"):
        agent.continue_run(run)

    assert agent.db.load(run.run_id) == before


def test_two_threads_that_bring_half_the_results_each_continue_the_run_together() -> None:
    agent = agent_of([call("shell", command="a"), call("shell", command="b")], "done")
    run = agent.run("go")
    barrier = threading.Barrier(2, timeout=10)

    def bring(place: int) -> RunOutput | None:
        barrier.wait()
        mine = run.tools[place].model_copy(update={"result": str(place)})
        try:
            return agent.continue_run(run_id=run.run_id, updated_tools=[mine])
        except MissingResultError:
            return None

    with ThreadPoolExecutor(2) as pool:
        outputs = [output for output in pool.map(bring, range(2)) if output is not None]

    assert [texts(output) for output in outputs] == [["0", "1"]]


def test_a_result_for_a_call_that_was_never_made_is_refused() -> None:
    agent = agent_of([call("shell", command="a")], "done")
    run = agent.run("go")
    foreign = ToolExecution(tool_call_id="other", tool_name="shell", step=1, result="x")

    with pytest.raises(InvalidAnswerError, match="other"):
        agent.continue_run(run_id=run.run_id, updated_tools=[foreign])


# 2. Results are keyed by (run_id, step, tool_call_id).


@modes
def test_a_reused_id_never_brings_back_an_old_result(mode: RunMode) -> None:
    agent = agent_of(call("shell", call_id="call_1", command="a"), call("shell", call_id="call_1", command="b"), "done")
    run = mode.run(agent, "go")
    run.tools[0].result = "A"
    run = mode.continue_run(agent, run)

    with pytest.raises(MissingResultError):
        mode.continue_run(agent, run)
    run.tools_awaiting_external_execution[0].result = "B"
    output = mode.continue_run(agent, run_id=run.run_id, updated_tools=run.tools)

    assert texts(output) == ["A", "B"]


def test_repeated_ids_in_one_batch_are_made_unique_in_records_and_messages() -> None:
    batch = [call("shell", call_id=call_id, command="x") for call_id in ("a", "a", "a_2", "")]
    run = agent_of(batch, "done").run("go")

    ids = [record.tool_call_id for record in run.tools]
    assert len(set(ids)) == 4
    assert ids[0] == "a" and ids[2] == "a_2" and ids[3].startswith("call_")
    assert [asked.id for asked in run.messages[-1].tool_calls] == ids


# 3. Any JSON-able or pydantic result is accepted.


class Row(BaseModel):
    name: str
    size: int


@modes
@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (0, "0"),
        (False, "false"),
        (Row(name="x", size=1), '{"name":"x","size":1}'),
        ([Row(name="x", size=1)], '[{"name":"x","size":1}]'),
        ("\udcff", "\ufffd"),
    ],
)
def test_results_reach_the_model_as_text_or_json(mode: RunMode, result: object, text: str) -> None:
    agent = agent_of(call("shell", command="a"), "done")
    run = mode.run(agent, "go")
    run.tools[0].result = result

    assert texts(mode.continue_run(agent, run)) == [text]


# 4. The tool messages are saved before the model is called.


@modes
def test_after_a_model_error_the_run_goes_on_without_the_results(mode: RunMode) -> None:
    agent = agent_of(call("shell", command="a"), ModelError("the provider is down"), "done")
    run = mode.run(agent, "go")
    run.tools[0].result = "A"

    with pytest.raises(ModelError, match="down"):
        mode.continue_run(agent, run)

    failed = agent.get_run_output(run.run_id)
    assert failed is not None and failed.status is RunStatus.ERROR and failed.error == "the provider is down"
    output = mode.continue_run(agent, run_id=run.run_id)
    assert (output.status, output.error, texts(output)) == (RunStatus.COMPLETED, None, ["A"])


# 5. Of simultaneous continues exactly one wins.


@modes
def test_exactly_one_of_many_continues_wins(mode: RunMode) -> None:
    agent = agent_of(call("shell", command="a"), "done")
    run = agent.run("go")
    run.tools[0].result = "A"
    barrier = threading.Barrier(6, timeout=10)

    def attempt(_: int) -> str:
        barrier.wait()
        try:
            return str(mode.continue_run(agent, run_id=run.run_id, updated_tools=run.tools).content)
        except RunAlreadyContinuedError as error:
            assert isinstance(error, ValueError)
            return "lost"

    with ThreadPoolExecutor(6) as pool:
        results = sorted(pool.map(attempt, range(6)))

    assert results == ["done", *["lost"] * 5]
    assert requests_of(agent) == 2


@modes
def test_a_finished_run_is_never_continued(mode: RunMode) -> None:
    agent = agent_of("done")
    run = mode.run(agent, "go")

    with pytest.raises(RunAlreadyContinuedError, match="COMPLETED"):
        mode.continue_run(agent, run)


def test_answers_of_an_earlier_step_are_told_apart_from_missing_ones() -> None:
    agent = agent_of(call("shell", command="a"), call("shell", command="b"), "done")
    run = agent.run("go")
    run.tools[0].result = "A"
    agent.continue_run(run)

    with pytest.raises(RunAlreadyContinuedError, match="step 2"):
        agent.continue_run(run)


def test_an_unknown_run_says_how_to_share_a_store() -> None:
    with pytest.raises(RunNotFoundError, match="db="):
        agent_of("done").continue_run(run_id="run_x")
    with pytest.raises(TypeError, match="run_id"):
        agent_of("done").continue_run()


def test_a_run_of_another_session_is_not_found() -> None:
    agent = agent_of(call("shell", command="a"), "done")
    run = agent.run("go", session_id="mine")

    with pytest.raises(LookupError, match="theirs"):
        agent.continue_run(run, session_id="theirs")


# 6. tool_call_limit and usage count over the whole run.


@modes
def test_the_limit_and_the_usage_count_across_pauses(mode: RunMode) -> None:
    agent = agent_of(
        call("shell", command="a"), [call("add", x=1, y=1), call("add", x=2, y=2)], "done", tool_call_limit=2
    )
    run = mode.run(agent, "go")
    run.tools[0].result = "A"
    output = mode.continue_run(agent, run)

    assert [record.outcome for record in output.tools] == [
        CallOutcome.SUCCEEDED,
        CallOutcome.SUCCEEDED,
        CallOutcome.DENIED,
    ]
    assert output.metrics.model_calls == 3
    assert isinstance(agent.model, ScriptedModel)
    assert output.metrics.input_tokens == sum(len(request.messages) for request in agent.model.requests)
    assert [request.may_call_tools for request in agent.model.requests] == [True, True, False]


def test_a_model_that_never_heeds_the_limit_is_stopped() -> None:
    agent = agent_of(*[call("add", x=1, y=1)] * 40, tool_call_limit=1)

    with pytest.raises(ModelError, match="tool_call_limit of 1"):
        agent.run("go")


# 7. Repeated pauses work without bound.


@modes
def test_a_run_may_pause_many_times(mode: RunMode) -> None:
    agent = agent_of(*[call("shell", call_id="same", command=str(n)) for n in range(25)], "done")
    run = mode.run(agent, "go")
    for number in range(25):
        assert run.is_paused and len(run.active_requirements) == 1
        run.tools_awaiting_external_execution[0].result = str(number)
        run = mode.continue_run(agent, run)

    assert run.content == "done"
    assert texts(run) == [str(number) for number in range(25)]


# 8. Cancelling a paused run is done at once.


def test_a_paused_run_is_cancelled_at_once_and_stays_so() -> None:
    agent = agent_of(call("shell", command="a"), "done")
    run = agent.run("go")
    run.tools[0].result = "A"

    assert agent.cancel_run(run.run_id) and agent.cancel_run(run.run_id)

    stored = agent.get_run_output(run.run_id)
    assert stored is not None and stored.is_cancelled and not stored.active_requirements
    with pytest.raises(RunAlreadyContinuedError, match="CANCELLED"):
        agent.continue_run(run)
    assert not agent.cancel_run("run_unknown")


def test_a_completed_run_is_not_cancelled() -> None:
    agent = agent_of("done")
    run = agent.run("go")

    assert not agent.cancel_run(run.run_id)
    stored = agent.get_run_output(run.run_id)
    assert stored is not None and stored.status is RunStatus.COMPLETED


# 9. Arguments of an external call are validated before dispatch.


@modes
@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (call("shell"), "command: Field required"),
        (call("shell", command=["a"]), "command: Input should be a valid string"),
        (call("shell", command="a", force=True), "force: No such argument"),
        (call("shel", command="a"), "There is no tool 'shel'. The tools are: shell, add, explode."),
        (call("shell").model_copy(update={"arguments": '{"command": "a'}), "The arguments are not JSON"),
        (call("shell").model_copy(update={"arguments": '["a"]'}), "must be a JSON object"),
        (call("shell").model_copy(update={"arguments": '{"command": "\\ud800"}'}), "The arguments are not JSON"),
        (call("shell", command="x" * (1024 * 1024)), "1048576 are allowed"),
    ],
)
def test_a_call_that_cannot_be_made_is_a_tool_error_and_never_pauses(mode: RunMode, asked: Any, reason: str) -> None:
    agent = agent_of(asked, "done")

    output = mode.run(agent, "go")

    assert output.status is RunStatus.COMPLETED
    assert output.tools[0].tool_call_error and not output.tools[0].external_execution_required
    text = texts(output)[0]
    assert text is not None and reason in text and text.startswith("[failed] ")


def test_text_that_is_no_json_never_goes_back_into_the_conversation() -> None:
    broken = call("shell").model_copy(update={"arguments": '{"command": '})
    output = agent_of(broken, "done").run("go")

    asked = [message for message in output.messages if message.tool_calls]
    assert [entry.arguments for entry in asked[0].tool_calls] == ["{}"]


# 10. Messages keep call order; a failing inline tool is a result like any other.


@modes
def test_results_follow_the_order_of_the_calls(mode: RunMode) -> None:
    agent = agent_of(
        [call("shell", command="a"), call("explode"), call("add", x=1, y=2), call("nope"), call("shell", command="b")],
        "done",
    )
    run = mode.run(agent, "go")
    last, first = reversed(run.tools_awaiting_external_execution)
    last.result, first.result = "B", "A"

    output = mode.continue_run(agent, run_id=run.run_id, updated_tools=[last, first])

    found = texts(output)
    assert found[:3] == ["A", "[failed] RuntimeError: boom", "3"]
    assert found[3] is not None and found[3].startswith("[failed] There is no tool 'nope'.")
    assert found[4] == "B"
    assert [m.tool_call_id for m in output.messages if m.role == "tool"] == [c.tool_call_id for c in output.tools]


# 11. Events.


@pytest.mark.parametrize("mode", [mode for mode in RUN_MODES if "stream" in mode.name], ids=str)
def test_external_calls_emit_the_events_of_any_call(mode: RunMode) -> None:
    agent = agent_of([call("shell", command="a"), call("explode")], "done")
    run = mode.run(agent, "go")
    assert [event.event for event in run.events] == [
        "RunStarted",
        "ToolCallStarted",
        "ToolCallStarted",
        "ToolCallError",
        "RunPaused",
    ]
    run.tools[0].result = "A"
    output = mode.continue_run(agent, run)
    assert [event.event for event in output.events] == ["RunContinued", "ToolCallCompleted", "RunCompleted"]


def test_a_failing_external_call_is_a_tool_call_error() -> None:
    agent = agent_of(call("shell", command="a"), "done")
    run = agent.run("go")
    run.tools[0].result, run.tools[0].tool_call_error = "no such file", True

    output = agent.continue_run(run)

    assert [event.event for event in output.events] == ["RunContinued", "ToolCallError", "RunCompleted"]
    assert texts(output) == ["[failed] no such file"]


def test_a_kept_result_is_told_once_when_the_run_goes_on() -> None:
    agent = agent_of([call("shell", command="a"), call("shell", command="b")], "done")
    run = agent.run("go")
    run.tools[0].result = "A"
    with pytest.raises(MissingResultError):
        agent.continue_run(run)
    run.tools[1].result = "B"

    output = agent.continue_run(run_id=run.run_id, updated_tools=[run.tools[1]])

    assert [event.event for event in output.events].count("ToolCallCompleted") == 2


def test_every_event_has_the_common_fields() -> None:
    agent = agent_of([call("shell", command="a"), call("add", x=1, y=1)], name="ops")
    events = [event for event in agent.run("go", stream=True, stream_events=True) if isinstance(event, RunEvent)]

    for event in events:
        assert event.event == type(event).__name__
        assert (event.agent_name, event.step, event.session_id is not None) == ("ops", 1, True)
        assert event.created_at.tzinfo is not None
        assert event.is_paused == (event.event == "RunPaused")
    assert [len(event.tools_awaiting_external_execution) for event in events] == [0] * (len(events) - 1) + [1]


# Across processes.


def test_a_shared_store_continues_a_run_with_another_agent_object() -> None:
    store = InMemoryRunStore()
    run = agent_of(call("shell", command="a"), "done", db=store).run("go")
    run.tools[0].result = "A"

    output = agent_of(call("shell", command="a"), "done", db=store).continue_run(
        run_id=run.run_id, updated_tools=run.tools
    )

    assert output.content == "done"


def test_without_a_shared_store_the_output_itself_carries_the_run() -> None:
    turns: list[Turn] = [call("shell", command="a"), "done"]
    run = RunOutput.from_dict(agent_of(*turns).run("go").to_dict())
    run.requirements[0].set_external_execution_result({"files": []})
    other = agent_of(*turns)

    output = other.continue_run(run)

    assert (output.content, texts(output), output.run_id) == ("done", ['{"files":[]}'], run.run_id)
    with pytest.raises(RunAlreadyContinuedError):
        other.continue_run(run)
