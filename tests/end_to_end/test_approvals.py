"""Pools whose calls a person approves first, in real processes: approved, with other arguments, refused, expired."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent_core.events import RunPaused, ToolCallAnswered, ToolCallCompleted, ToolCallSettled
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome, ToolExecution
from queues.client import RunHandle
from queues.embedded import EmbeddedServer
from queues.errors import AlreadyAnsweredError, CallFailedError, CallRefusedError
from queues.offers import Offers, ToolOffer
from tests.support.waiting import wait_until
from tests.support.walking import Walk, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    """The project of the walk, with a pool that asks and waits, and one for whose answer nobody has much time."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ERRANDRY_POOLS__SHELL__APPROVAL", "true")
        environment.setenv("ERRANDRY_POOLS__PYTHON__APPROVAL", "true")
        environment.setenv("ERRANDRY_POOLS__PYTHON__APPROVAL_SECONDS", "0.5")
        with walking(tmp_path_factory.mktemp("approvals"), cleared_server.url) as running:
            yield running


def asked(walk: Walk, prompt: str) -> tuple[RunHandle, ToolExecution]:
    """A run that waits for the approval of its one call."""
    run = walk.client.submit("ops", prompt)
    assert run.wait(timeout=BOUND, until="paused").is_paused
    (call,) = run.pending()
    assert call.requires_approval and call.waits_for_person
    return run, call


def told_the_model(output: RunOutput) -> str:
    (text,) = [message.content for message in output.messages if message.role == "tool"]
    return str(text)


def test_the_pool_refuses_a_call_of_which_nobody_was_asked(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client says no by itself; one that was told nothing of the pool leaves it to the pool."""
    with pytest.raises(CallRefusedError, match="only once a person has approved it"):
        walk.client.execute("run_command", {"command": "echo hello"}, timeout=BOUND)
    monkeypatch.setattr(Offers, "find", lambda offers, tool_name, *, pool: ToolOffer(pool))
    with pytest.raises(CallFailedError, match="nobody was asked") as refused:
        walk.client.execute("run_command", {"command": "echo hello"}, pool="shell", timeout=BOUND)
    assert refused.value.outcome is CallOutcome.DENIED


def test_an_approved_call_is_executed_and_says_who_let_it(walk: Walk) -> None:
    run, call = asked(walk, "Run echo hello")
    assert [waiting.output.run_id for waiting in walk.client.waiting_runs()] == [run.run_id]
    walk.client.confirm(run.run_id, call.tool_call_id, True, answered_by="ann")
    # Not the pause that is over: from now on the run waits for its pool, and for no person.
    output = run.wait(timeout=BOUND, until="paused")
    assert output.status is RunStatus.COMPLETED, (output.status, output.error)
    (record,) = output.tools
    assert (str(record.result).strip(), record.answered_by, record.confirmed) == ("hello", "ann", True)
    assert record.answered_at is not None and record.metrics is not None and record.metrics.pool == "shell"
    assert told_the_model(output).strip() == "hello"
    assert walk.client.waiting_runs() == []
    with pytest.raises(AlreadyAnsweredError, match="was answered by ann at 2"):
        walk.client.confirm(run.run_id, call.tool_call_id, True, answered_by="bob")
    wait_until(lambda: any("PAUSED for run_command (approval)" in line for line in walk.lines), "Flower is told")


def test_readers_are_told_of_the_question_and_of_the_answer(walk: Walk) -> None:
    run, call = asked(walk, "Run echo hello")
    walk.client.confirm(run.run_id, call.tool_call_id, True, note="fine", answered_by="ann")
    events = list(run.events(timeout=BOUND))
    (paused,) = [event for event in events if isinstance(event, RunPaused)]
    assert paused.content == "Paused: waiting for run_command (approval)."
    assert [told.requires_approval for told in paused.tools or ()] == [True]
    (answered,) = [event for event in events if isinstance(event, ToolCallAnswered)]
    assert (answered.answered_by, answered.pool, answered.content) == ("ann", "shell", "fine")
    assert answered.answered_at is not None and answered.tool_args is None
    (completed,) = [event for event in events if isinstance(event, ToolCallCompleted)]
    assert (completed.tool.answered_by, completed.tool.answered_at) == ("ann", answered.answered_at)
    names = [event.event for event in events]
    assert names.index("RunPaused") < names.index("ToolCallAnswered") < names.index("ToolCallExecuting")


def test_changed_arguments_are_executed_recorded_and_told_to_the_model(walk: Walk) -> None:
    run, call = asked(walk, "Run echo hello")
    walk.client.confirm(run.run_id, call.tool_call_id, True, arguments={"command": "echo changed"})
    output = run.wait(timeout=BOUND)
    (record,) = output.tools
    assert str(record.result).strip() == "changed"
    assert (record.tool_args, record.requested_args) == ({"command": "echo changed"}, {"command": "echo hello"})
    told = told_the_model(output)
    assert 'a person changed the arguments of this call to {"command": "echo changed"}' in told and "hello" not in told
    (completed,) = [event for event in run.events(timeout=BOUND) if isinstance(event, ToolCallCompleted)]
    assert completed.tool.tool_args == {"command": "echo changed"}


@pytest.mark.parametrize("arguments", [{"comand": "touch x"}, {"command": ["touch", "x"]}, {}])
def test_changed_arguments_that_do_not_fit_the_tool_are_a_failed_call(
    walk: Walk, arguments: dict[str, str | list[str]]
) -> None:
    run, call = asked(walk, "Run echo hello")
    walk.client.confirm(run.run_id, call.tool_call_id, True, arguments=arguments)  # type: ignore[arg-type]
    output = run.wait(timeout=BOUND)
    (record,) = output.tools
    assert output.status is RunStatus.COMPLETED and record.outcome is CallOutcome.FAILED
    assert "command" in str(record.result) and record.tool_args == arguments


def test_a_refused_call_is_not_executed_and_the_model_reads_why(walk: Walk) -> None:
    run, call = asked(walk, "Run echo hello")
    walk.client.confirm(run.run_id, call.tool_call_id, False, note="not on a Friday", answered_by="bob")
    output = run.wait(timeout=BOUND)
    (record,) = output.tools
    assert output.status is RunStatus.COMPLETED and record.outcome is CallOutcome.DENIED
    assert (record.answered_by, record.confirmation_note) == ("bob", "not on a Friday")
    assert "[denied]" in told_the_model(output) and "not on a Friday" in told_the_model(output)
    events = list(run.events(timeout=BOUND))
    (settled,) = [event for event in events if isinstance(event, ToolCallSettled)]
    assert (settled.outcome, settled.answered_by) == (CallOutcome.DENIED, "bob")
    assert "ToolCallExecuting" not in [event.event for event in events]


def test_a_call_that_nobody_approves_in_time_expires_and_the_run_goes_on(walk: Walk) -> None:
    output = walk.client.submit("ops", "Look inside").wait(timeout=BOUND)
    (record,) = output.tools
    assert output.status is RunStatus.COMPLETED and record.outcome is CallOutcome.EXPIRED
    assert "[expired] Nobody approved this call in time" in told_the_model(output)
    assert (record.answered_by, record.answered_at) == (None, None)


def test_a_batch_of_approved_expired_and_inline_calls_keeps_call_order(walk: Walk) -> None:
    run = walk.client.submit("ops", "Everything at once")
    run.wait(timeout=BOUND, until="paused")
    walk.client.confirm(run.run_id, run.output().tools[0].tool_call_id, True)
    output = run.wait(timeout=BOUND)
    assert [(call.tool_name, call.outcome) for call in output.tools] == [
        ("run_command", CallOutcome.SUCCEEDED),
        ("count_words", CallOutcome.EXPIRED),
        ("add", CallOutcome.SUCCEEDED),
    ]


def test_a_run_that_is_cancelled_while_it_is_asked_for_executes_nothing(walk: Walk) -> None:
    run, _ = asked(walk, "Run echo hello")
    assert run.cancel("changed my mind")
    assert run.wait(timeout=BOUND).status is RunStatus.CANCELLED
    assert run.pending() == []
    assert "ToolCallExecuting" not in [event.event for event in run.events(timeout=BOUND)]
