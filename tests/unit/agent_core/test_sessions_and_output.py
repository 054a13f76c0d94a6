"""Sessions and their history, structured output, and results that are shown or end the run."""

from typing import Any

import pytest
from pydantic import BaseModel

from agent_core.agent import Agent
from agent_core.errors import ModelError, OutputSchemaError
from agent_core.models.base import ModelReply
from agent_core.models.scripted import ScriptedModel, Turn, call
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.store import InMemoryRunStore
from agent_core.tools import Toolkit, tool
from tests.support.run_modes import RUN_MODES, RunMode

modes = pytest.mark.parametrize("mode", RUN_MODES, ids=str)


@tool(external_execution=True)
def shell(command: str) -> str:
    """Run a command."""
    return command


class CountingStore(InMemoryRunStore):
    """Counts what is read of a session."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def history(self, session_id: str, *, limit: int) -> list[RunSnapshot]:
        self.asked.append(limit)
        return super().history(session_id, limit=limit)


def conversation(agent: Agent) -> list[tuple[str, str | None]]:
    assert isinstance(agent.model, ScriptedModel)
    return [(message.role, message.content) for message in agent.model.requests[-1].messages]


def echo(*turns: Turn, **settings: Any) -> Agent:
    model = ScriptedModel(turns or [lambda request: f"re {request.messages[-1].content}"])
    return Agent(model=model, tools=[shell], instructions="Be brief.", **settings)


@modes
def test_only_the_runs_asked_for_are_read(mode: RunMode) -> None:
    store = CountingStore()
    agent = echo(add_history_to_context=True, num_history_runs=2, db=store)
    for word in ("one", "two", "three", "four"):
        mode.run(agent, word, session_id="s")

    assert conversation(agent) == [
        ("system", "Be brief."),
        ("user", "two"),
        ("assistant", "re two"),
        ("user", "three"),
        ("assistant", "re three"),
        ("user", "four"),
    ]
    assert store.asked == [2, 2, 2, 2]


def test_history_is_off_unless_asked_for_and_never_of_another_session() -> None:
    store = CountingStore()
    without = echo(db=store, session_id="s")
    without.run("one")
    without.run("two")
    assert conversation(without) == [("system", "Be brief."), ("user", "two")] and store.asked == []

    agent = echo(db=store, add_history_to_context=True)
    agent.run("three", session_id="other")
    assert conversation(agent) == [("system", "Be brief."), ("user", "three")]


def test_paused_cancelled_and_failed_runs_never_poison_the_history() -> None:
    store = InMemoryRunStore()

    def agent(*turns: Turn) -> Agent:
        return echo(*turns, db=store, session_id="s", add_history_to_context=True)

    agent(call("shell", command="paused")).run("paused")
    cancelling = agent(call("shell", command="cancelled"))
    cancelling.cancel_run(cancelling.run("cancelled").run_id)
    with pytest.raises(ModelError):
        agent(ModelError("down")).run("failed")
    agent("fine").run("good")
    last = agent("done")
    last.run("now")

    assert conversation(last) == [
        ("system", "Be brief."),
        ("user", "good"),
        ("assistant", "fine"),
        ("user", "now"),
    ]


def test_a_run_that_paused_is_history_once_it_is_completed_whole_and_once() -> None:
    agent = echo(call("shell", call_id="c", command="ls"), "first done", session_id="s", add_history_to_context=True)
    run = agent.run("first")
    run.tools[0].result = "files"
    agent.continue_run(run)
    run = agent.run("second")
    run.tools[0].result = "more"
    output = agent.continue_run(run)

    assert [(m.role, m.content) for m in output.messages] == [
        ("system", "Be brief."),
        ("user", "first"),
        ("assistant", None),
        ("tool", "files"),
        ("assistant", "first done"),
        ("user", "second"),
        ("assistant", None),
        ("tool", "more"),
        ("assistant", "first done"),
    ]


def test_the_session_is_never_kept_on_the_agent() -> None:
    agent = echo()

    first, second, named, third = (
        agent.run("a"), agent.run("b"), agent.run("c", session_id="mine"), agent.run("d"),
    )  # fmt: skip

    assert len({first.session_id, second.session_id, named.session_id, third.session_id}) == 4
    assert named.session_id == "mine"
    assert echo(session_id="fixed").run("a").session_id == "fixed"


def test_settings_of_agent_and_run_meet_in_the_output() -> None:
    agent = echo(name="ops", id="ops-1", user_id="u", metadata={"a": 1, "b": 1})
    output = agent.run({"q": 1}, run_id="mine", metadata={"b": 2})

    assert (output.run_id, output.agent_name, output.agent_id, output.user_id) == ("mine", "ops", "ops-1", "u")
    assert (output.metadata, output.input, output.model) == ({"a": 1, "b": 2}, '{"q":1}', "scripted")


@pytest.mark.parametrize("method", ["run", "arun"])
def test_unknown_settings_are_type_errors_at_once(method: str) -> None:
    agent = echo()
    with pytest.raises(TypeError, match="'sesion_id'"):
        getattr(agent, method)("go", sesion_id="x")
    with pytest.raises(TypeError, match="'sesion_id'"):
        getattr(agent, method.replace("run", "continue_run"))(run_id="x", sesion_id="x")
    with pytest.raises(TypeError, match="'colour'"):
        echo(colour="red")
    with pytest.raises(TypeError):
        Agent(ScriptedModel([]))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="run id"):
        agent.run("go", run_id="a b")
    with pytest.raises(TypeError, match="The input of the run is a object"):
        agent.run(object())


def test_the_system_prompt_holds_all_that_is_to_be_said() -> None:
    @tool(instructions="Use look sparingly.")
    def look() -> str:
        """Look."""
        return ""

    agent = Agent(
        model=ScriptedModel(["done"]),
        description="You are terse.",
        instructions=["First.", "Second."],
        tools=[Toolkit(tools=[look], instructions="A kit.")],
        markdown=True,
    )
    output = agent.run("go")

    assert output.messages[0].content == (
        "You are terse.\n\n- First.\n- Second.\n\nA kit.\n\nUse look sparingly.\n\nWrite your answers in Markdown."
    )


class City(BaseModel):
    name: str
    size: int = 0


@modes
def test_structured_output_is_an_object_of_the_schema(mode: RunMode) -> None:
    agent = echo('{"name": "Oslo", "size": 7}', output_schema=City)
    output = mode.run(agent, "go")

    assert (output.content, output.content_type) == (City(name="Oslo", size=7), "City")
    assert isinstance(agent.model, ScriptedModel)
    schema = agent.model.requests[0].response_schema
    assert schema is not None and schema.name == "City"
    assert schema.schema["required"] == ["name", "size"] and schema.schema["additionalProperties"] is False
    assert RunOutput.from_dict(output.to_dict()).content == {"name": "Oslo", "size": 7}


def test_a_fence_around_the_json_does_not_matter() -> None:
    assert echo('```json\n{"name": "Oslo"}\n```').run("go", output_schema=City).content == City(name="Oslo")


@modes
def test_an_answer_that_does_not_fit_is_asked_for_once_more_with_the_reason(mode: RunMode) -> None:
    agent = echo('{"size": "big"}', '{"name": "Oslo"}', output_schema=City)

    assert mode.run(agent, "go").content == City(name="Oslo")
    text = conversation(agent)[-1][1]
    assert text is not None and "name: Field required" in text and "size: Input should be" in text


@modes
def test_a_second_misfit_is_a_clear_error(mode: RunMode) -> None:
    agent = echo("no", "still no", "never asked", output_schema=City)

    with pytest.raises(OutputSchemaError, match="'City'"):
        mode.run(agent, "go", run_id="x")
    stored = agent.get_run_output("x")
    assert stored is not None and stored.status is RunStatus.ERROR and stored.metrics.model_calls == 2


def test_a_refusal_is_no_structured_output() -> None:
    with pytest.raises(OutputSchemaError, match="not for me"):
        echo(ModelReply(refusal="not for me", finish_reason="stop"), "unused").run("go", output_schema=City)


def test_a_schema_given_to_the_run_outlives_its_pause() -> None:
    agent = echo(call("shell", command="ls"), '{"name": "Oslo"}')
    run = agent.run("go", output_schema=City)
    run.tools[0].result = "x"
    assert agent.continue_run(run).content == City(name="Oslo")

    store = InMemoryRunStore()
    run = echo(call("shell", command="ls"), db=store).run("go", output_schema=City)
    run.tools[0].result = "x"
    elsewhere = echo(call("shell", command="ls"), '{"name": "Oslo"}', db=store)
    assert elsewhere.continue_run(run).content == {"name": "Oslo"}


@tool(show_result=True)
def table() -> str:
    """Give a table."""
    return "| a |"


@tool(stop_after_tool_call=True)
def finish(text: str) -> str:
    """Give the answer."""
    return text


@tool(stop_after_tool_call=True, show_result=False)
def finish_silently() -> str:
    """End."""
    return "secret"


@tool(stop_after_tool_call=True)
def finish_badly() -> str:
    """Fail."""
    raise RuntimeError("no")


@modes
def test_results_can_be_shown_and_can_end_the_run(mode: RunMode) -> None:
    def content(*turns: Turn) -> object:
        agent = Agent(model=ScriptedModel(turns), tools=[table, finish, finish_silently, finish_badly])
        output = mode.run(agent, "go")
        assert output.status is RunStatus.COMPLETED
        return output.content

    assert content(call("table"), "see above") == "| a |\n\nsee above"
    assert content([call("table"), call("finish", text="the end")], "never asked") == "| a |\n\nthe end"
    assert content(call("finish_silently"), "never asked") == ""
    assert content(call("finish_badly"), "asked") == "asked"


def test_the_streamed_text_is_the_content() -> None:
    agent = Agent(model=ScriptedModel([call("table"), "see above"]), tools=[table])
    events = list(agent.run("go", stream=True, yield_run_output=True))

    assert "".join(str(event.content) for event in events[:-1]) == events[-1].content


def test_an_external_tool_may_end_the_run_as_well() -> None:
    ends = tool(external_execution=True, stop_after_tool_call=True)(shell.entrypoint)
    agent = Agent(model=ScriptedModel([call("shell", command="x"), "never asked"]), tools=[ends])
    run = agent.run("go")
    run.tools[0].result = "the end"

    assert agent.continue_run(run).content == "the end"
