"""Steps that need a person: confirmations and user input, alone and in mixed batches."""

import pytest
from pydantic import JsonValue

from agent_core.agent import Agent
from agent_core.errors import InvalidAnswerError, MissingResultError
from agent_core.models.scripted import ScriptedModel, Turn, call
from agent_core.run import RunOutput, RunStatus
from agent_core.tools import tool
from agent_core.tools.execution import CallOutcome
from tests.support.run_modes import RUN_MODES, RunMode

modes = pytest.mark.parametrize("mode", RUN_MODES, ids=str)
sent: list[str] = []


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    sent.clear()


@tool(requires_confirmation=True)
def send(text: str) -> str:
    """Send a text."""
    sent.append(text)
    return f"sent {text}"


@tool(requires_user_input=True, user_input_fields=["address", "copies"])
def post(text: str, address: str, copies: int = 1) -> str:
    """Post a letter.

    Args:
        text: what it says
        address: where it goes
    """
    return f"{text} -> {address} x{copies}"


@tool(requires_user_input=True)
def ask(name: str) -> str:
    """Ask for a name."""
    return name


@tool(external_execution=True)
def shell(command: str) -> str:
    """Run a command."""
    return command


def agent_of(*turns: Turn) -> Agent:
    return Agent(model=ScriptedModel(turns), tools=[send, post, ask, shell])


def texts(output: RunOutput) -> list[str | None]:
    return [message.content for message in output.messages if message.role == "tool"]


@modes
def test_a_confirmed_call_is_executed_once_it_is_confirmed(mode: RunMode) -> None:
    agent = agent_of(call("send", text="hi"), "done")
    run = mode.run(agent, "go")
    assert run.is_paused and sent == []
    assert [c.tool_name for c in run.tools_requiring_confirmation] == ["send"]

    run.active_requirements[0].confirm()
    output = mode.continue_run(agent, run_id=run.run_id, requirements=run.requirements)

    assert (output.status, texts(output), sent) == (RunStatus.COMPLETED, ["sent hi"], ["hi"])


@modes
def test_a_rejected_call_is_not_executed_and_the_model_reads_why(mode: RunMode) -> None:
    agent = agent_of(call("send", text="hi"), "done")
    run = mode.run(agent, "go")
    run.tools[0].confirmed, run.tools[0].confirmation_note = False, "too blunt"

    output = mode.continue_run(agent, run_id=run.run_id, updated_tools=run.tools)

    assert sent == [] and output.tools[0].outcome is CallOutcome.DENIED
    assert texts(output) == ["[denied] The user refused this call; it was not executed. They said: too blunt"]


@modes
def test_user_input_fills_the_fields_that_the_model_never_sees(mode: RunMode) -> None:
    agent = agent_of(call("post", text="Hello"), "done")
    assert list(post.parameters["properties"]) == ["text"]
    run = mode.run(agent, "go")
    (requirement,) = run.active_requirements
    assert [(f.name, f.field_type, f.description, f.required) for f in requirement.user_input_schema] == [
        ("address", "string", "where it goes", True),
        ("copies", "integer", "", False),
    ]

    requirement.provide_user_input({"address": "Oslo"})
    output = mode.continue_run(agent, run)

    assert texts(output) == ["Hello -> Oslo x1"]


def test_fields_can_be_filled_one_by_one() -> None:
    agent = agent_of(call("post", text="Hello"), "done")
    run = agent.run("go")
    fields = {f.name: f for f in run.tools[0].user_input_schema or []}
    fields["copies"].value = 2
    with pytest.raises(MissingResultError, match="'post'"):
        agent.continue_run(run)
    fields["address"].value = "Oslo"

    assert texts(agent.continue_run(run)) == ["Hello -> Oslo x2"]


def test_without_named_fields_all_arguments_are_asked_of_the_person() -> None:
    agent = agent_of(call("ask"), "done")
    assert ask.parameters["properties"] == {}
    run = agent.run("go")
    run.active_requirements[0].provide_user_input({"name": "Ada"})

    assert texts(agent.continue_run(run)) == ["Ada"]


@modes
def test_input_of_the_wrong_type_is_refused_and_the_run_stays_paused(mode: RunMode) -> None:
    agent = agent_of(call("post", text="Hello"), "done")
    run = mode.run(agent, "go")
    run.active_requirements[0].provide_user_input({"address": "Oslo", "copies": "many"})
    before = agent.db.load(run.run_id)

    with pytest.raises(InvalidAnswerError, match=r"'post'.*copies"):
        mode.continue_run(agent, run)

    assert agent.db.load(run.run_id) == before


@pytest.mark.parametrize(("values", "word"), [({"adress": "x"}, "adress"), ({"copies": 1}, "address")])
def test_input_must_fit_the_fields(values: dict[str, JsonValue], word: str) -> None:
    run = agent_of(call("post", text="Hello")).run("go")

    with pytest.raises(ValueError, match=f"'{word}'"):
        run.active_requirements[0].provide_user_input(values)


def test_the_wrong_verb_is_refused() -> None:
    run = agent_of([call("send", text="a"), call("shell", command="b"), call("post", text="c")]).run("go")
    confirmation, execution, user_input = run.requirements
    assert confirmation.needs_confirmation and execution.needs_external_execution and user_input.needs_user_input

    for verb in (
        execution.confirm,
        execution.reject,
        lambda: confirmation.set_external_execution_result("x"),
        lambda: confirmation.provide_user_input({}),
    ):
        with pytest.raises(ValueError, match="does not fit"):
            verb()


@modes
def test_a_batch_may_mix_all_kinds_and_pause_again(mode: RunMode) -> None:
    agent = agent_of(
        [call("shell", command="ls"), call("send", text="a"), call("post", text="b"), call("send", text="c")],
        call("send", text="d"),
        "done",
    )
    run = mode.run(agent, "go")
    external, first, user_input, second = run.active_requirements
    first.confirm()
    second.reject()
    with pytest.raises(MissingResultError, match=r"'shell'.*'post'"):
        mode.continue_run(agent, run)
    assert sent == []
    external.set_external_execution_result("files")
    user_input.provide_user_input({"address": "Oslo"})

    run = mode.continue_run(agent, run_id=run.run_id, requirements=[external, user_input])

    assert run.is_paused and sent == ["a"]
    assert texts(run) == [
        "files",
        "sent a",
        "b -> Oslo x1",
        "[denied] The user refused this call; it was not executed.",
    ]
    run.active_requirements[0].confirm()
    assert mode.continue_run(agent, run).content == "done"
    assert sent == ["a", "d"]
