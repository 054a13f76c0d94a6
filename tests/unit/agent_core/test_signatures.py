"""Who answered a call, and when: kept with the record as the caller sets it, in every way to answer."""

from datetime import UTC, datetime

import pytest

from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel, Turn, call
from agent_core.run import RunOutput
from agent_core.tools import tool
from agent_core.tools.execution import CallOutcome, CallResult, Confirmation, ToolExecution
from tests.support.run_modes import RUN_MODES, RunMode

modes = pytest.mark.parametrize("mode", RUN_MODES, ids=str)
THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@tool(requires_confirmation=True)
def send(text: str) -> str:
    """Send a text."""
    return f"sent {text}"


@tool(requires_user_input=True)
def ask(name: str) -> str:
    """Ask for a name."""
    return name


@tool(external_execution=True)
def shell(command: str) -> str:
    """Run a command."""
    raise NotImplementedError


def paused(mode: RunMode) -> tuple[Agent, RunOutput]:
    turns: list[Turn] = [call("send", text="hi"), call("ask"), call("shell", command="ls"), "done"]
    agent = Agent(model=ScriptedModel(turns), tools=[send, ask, shell])
    return agent, mode.run(agent, "go")


def sign(record: ToolExecution, name: str) -> None:
    record.answered_by, record.answered_at = name, THEN


@modes
def test_the_records_keep_who_answered_and_when(mode: RunMode) -> None:
    agent, run = paused(mode)
    run.active_requirements[0].confirm()
    sign(run.tools[-1], "ann")
    run = mode.continue_run(agent, run_id=run.run_id, updated_tools=run.tools)
    run.active_requirements[0].provide_user_input({"name": "Bo"})
    sign(run.tools[-1], "bob")
    run = mode.continue_run(agent, run_id=run.run_id, updated_tools=run.tools)
    run.tools[-1].result = "files"
    sign(run.tools[-1], "cid")
    run = mode.continue_run(agent, run_id=run.run_id, updated_tools=run.tools)

    assert [(record.answered_by, record.answered_at) for record in run.tools] == [
        ("ann", THEN), ("bob", THEN), ("cid", THEN),
    ]  # fmt: skip
    again = RunOutput.from_dict(run.to_dict())
    assert [record.answered_by for record in again.tools] == ["ann", "bob", "cid"]


def test_nobody_signs_unless_told_to() -> None:
    agent, run = paused(RUN_MODES[0])
    run.tools[0].confirmed = False
    run = RUN_MODES[0].continue_run(agent, run_id=run.run_id, updated_tools=run.tools)
    assert (run.tools[0].answered_by, run.tools[0].answered_at) == (None, None)
    assert run.tools[0].outcome is CallOutcome.DENIED


def approved(**arguments: str) -> ToolExecution:
    record = ToolExecution(
        tool_call_id="c", tool_name="shell", tool_args={"command": "ls"},
        external_execution_required=True, pool="shell", requires_approval=True,
    )  # fmt: skip
    record.take_confirmation(
        Confirmation(confirmed=True, arguments=dict(arguments) or None, answered_by="ann", answered_at=THEN)
    )
    return record


def test_the_result_of_a_pool_leaves_the_approval_as_it_is() -> None:
    record = approved()
    assert record.is_paused and not record.waits_for_person
    record.settle(CallResult(content="files"))
    assert (record.answered_by, record.answered_at, record.confirmed) == ("ann", THEN, True)
    assert record.message_text() == "files"


def test_the_model_is_told_which_arguments_a_person_gave() -> None:
    record = approved(command="ls -l")
    record.take_confirmation(Confirmation(confirmed=True, arguments={"command": "ls -l"}))  # a repeat
    assert (record.tool_args, record.requested_args) == ({"command": "ls -l"}, {"command": "ls"})
    record.settle(CallResult(outcome=CallOutcome.FAILED, content="no such file"))
    assert record.message_text() == (
        '[a person changed the arguments of this call to {"command": "ls -l"}]\n[failed] no such file'
    )


def test_long_arguments_are_cut_in_what_the_model_is_told() -> None:
    record = approved(command="x" * 100_000)
    record.settle(CallResult(content="done"))
    assert len(record.message_text()) < 2200 and record.message_text().endswith("…]\ndone")


@pytest.mark.parametrize(
    ("values", "waits"),
    [
        ({"external_execution_required": True, "pool": "shell"}, False),
        ({"external_execution_required": True, "pool": "shell", "requires_approval": True}, True),
        ({"external_execution_required": True}, True),
        ({"requires_confirmation": True}, True),
        ({"requires_confirmation": True, "confirmed": True}, False),
        ({"requires_approval": True, "external_execution_required": True, "outcome": "denied"}, False),
    ],
)
def test_it_is_known_whether_a_person_is_to_act(values: dict[str, object], waits: bool) -> None:
    record = ToolExecution.model_validate({"tool_call_id": "c", "tool_name": "t", **values})
    assert record.waits_for_person is waits
