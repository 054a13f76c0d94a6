"""The walk of a tool call through real processes: submit, pause, sandbox, settle, continue, answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from agent_core.errors import InvalidAnswerError
from agent_core.events import RunEvent
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome
from queues.client import WaitTimeoutError
from queues.embedded import EmbeddedServer
from queues.errors import AlreadyAnsweredError
from tests.support.walking import Walk, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    with walking(tmp_path_factory.mktemp("walk"), cleared_server.url) as running:
        yield running


def done(walk: Walk, prompt: str, agent: str = "ops") -> RunOutput:
    output = walk.client.submit(agent, prompt).wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED, (output.status, output.error)
    return output


def test_a_shell_command_is_executed_behind_the_wall(walk: Walk) -> None:
    output = done(walk, "Run echo hello; id -u")
    assert "hello" in str(output.content)
    (call,) = output.tools
    assert call.metrics is not None and call.metrics.pool == "shell"
    assert call.metrics.sandbox_level == "ns"
    assert call.metrics.queue_wait_seconds is not None and call.metrics.wall_seconds is not None


def test_a_batch_for_two_pools_and_an_inline_call_keeps_call_order(walk: Walk) -> None:
    output = done(walk, "Everything at once")
    assert [(call.tool_name, call.pool, str(call.result).strip()) for call in output.tools] == [
        ("run_command", "shell", "from the shell"),
        ("count_words", "python", "3"),
        ("add", None, "15"),
    ]
    told = [message.tool_name for message in output.messages if message.role == "tool"]
    assert told == ["run_command", "count_words", "add"]


def test_a_run_pauses_more_than_once(walk: Walk) -> None:
    run = walk.client.submit("ops", "Twice")
    names = [event.event for event in run.events(timeout=BOUND)]
    assert names.count("RunPaused") == names.count("RunContinued") == 2
    assert names[0] == "RunStarted" and names[-1] == "RunCompleted"
    assert run.output().content == "counted 3"


def test_the_model_sees_why_a_tool_failed(walk: Walk) -> None:
    output = done(walk, "Fail with no such customer")
    (call,) = output.tools
    assert call.outcome is CallOutcome.FAILED
    assert "no such customer" in str(output.content)


def test_the_tool_gets_its_idempotency_key_and_not_the_models_key(walk: Walk) -> None:
    (call,) = done(walk, "Look inside").tools
    assert "sk-of-the-agent-worker" not in str(call.result)
    assert f":1:{call.tool_call_id}" in str(call.result)


def test_events_resume_after_any_id_without_gap_or_repeat(walk: Walk) -> None:
    run = walk.client.submit("ops", "Everything at once")
    whole = list(run.events(timeout=BOUND))
    executing = [event for event in whole if event.event == "ToolCallExecuting"]
    assert {getattr(event, "pool", None) for event in executing} == {"shell", "python"}
    assert len({event.event_id for event in whole}) == len(whole)
    for position, event in enumerate(whole[:-1]):
        rest = list(run.events(after=event.event_id, timeout=BOUND))
        # What two pools tell within one millisecond has no order of its own.
        assert sorted(map(told, rest)) == sorted(map(told, whole[position + 1 :]))


def told(event: RunEvent) -> tuple[str, str]:
    tool = getattr(event, "tool", event)
    return event.event, str(getattr(tool, "tool_call_id", ""))


def test_one_idempotency_key_is_one_run(walk: Walk) -> None:
    first = walk.client.submit("ops", "Run echo once", idempotency_key="once")
    again = walk.client.submit("ops", "Run echo once", idempotency_key="once")
    assert first.run_id == again.run_id
    first.wait(timeout=BOUND)


def test_a_person_answers_and_the_run_goes_on(walk: Walk) -> None:
    run = walk.client.submit("careful", "Ask what is the plan?")
    assert run.wait(timeout=BOUND, until="paused").is_paused
    (call,) = walk.client.pending(run.run_id)
    walk.client.settle(run.run_id, call.tool_call_id, result={"plan": "none"})
    with pytest.raises((AlreadyAnsweredError, InvalidAnswerError)):
        walk.client.settle(run.run_id, call.tool_call_id, result="another")
    assert "none" in str(run.wait(timeout=BOUND).content)


@pytest.mark.parametrize(("approved", "expected"), [(True, "deleted invoices"), (False, "too risky")])
def test_a_person_decides_whether_a_tool_runs(walk: Walk, approved: bool, expected: str) -> None:
    run = walk.client.submit("careful", "Delete invoices")
    run.wait(timeout=BOUND, until="paused")
    (call,) = walk.client.pending(run.run_id)
    walk.client.confirm(run.run_id, call.tool_call_id, approved, note="too risky")
    assert expected in str(run.wait(timeout=BOUND).content)


def test_cancelling_kills_the_tool_in_its_sandbox(walk: Walk) -> None:
    run = walk.client.submit("ops", "Run sleep 15; echo never")
    next(event for event in run.events(timeout=BOUND) if event.event == "ToolCallExecuting")
    assert run.cancel("changed my mind")
    assert run.wait(timeout=BOUND).status is RunStatus.CANCELLED
    events = [event.event for event in itertools.islice(run.events(timeout=BOUND), 50)]
    assert events[-1] == "RunCancelled"
    assert not run.cancel()


def test_waiting_has_a_bound(walk: Walk) -> None:
    run = walk.client.submit("careful", "Ask nobody")
    run.wait(timeout=BOUND, until="paused")
    with pytest.raises(WaitTimeoutError, match="PAUSED"):
        run.wait(timeout=0.05)
    assert run.cancel()


def test_a_paused_run_holds_nothing_in_any_worker(walk: Walk, embedded_server: EmbeddedServer) -> None:
    run = walk.client.submit("careful", "Ask for a while")
    run.wait(timeout=BOUND, until="paused")
    stored = walk.client.run(run.run_id).output()
    assert stored.is_paused and not walk.client.runs(status=RunStatus.RUNNING)
    run.cancel()
