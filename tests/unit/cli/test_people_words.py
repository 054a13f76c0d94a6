"""What people read of calls that ask them: who is waited for, how to answer, who answered and when."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent_core.events import RunEvent, ToolCallAnswered, ToolCallSettled, ToolCallStarted
from agent_core.run import RunOutput
from agent_core.tools.execution import ToolExecution
from queues.waiting_runs import WaitingRun
from workers.showing.events import event_words
from workers.showing.people import print_pending, print_waiting
from workers.showing.run import print_run
from workers.terminal import console
from workers.timeline.folding import timeline_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ASKS = {"external_execution_required": True, "pool": "office", "requires_approval": True}
APPROVED = {**ASKS, "confirmed": True, "answered_by": "ann", "answered_at": NOW}


def call(**values: object) -> ToolExecution:
    known = {"tool_call_id": "c1", "tool_name": "pay", "tool_args": {"amount": 5}, "step": 1}
    return ToolExecution.model_validate({**known, **values})


def output(*calls: ToolExecution, **values: object) -> RunOutput:
    known = {"run_id": "run_1", "agent_name": "demo", "input": "Pay 5", "created_at": NOW, "status": "PAUSED"}
    return RunOutput.model_validate({**known, "tools": calls, **values})


def at(kind: type[RunEvent], **values: object) -> RunEvent:
    return kind.model_validate({"run_id": "run_1", "agent_name": "demo", "step": 1, "created_at": NOW, **values})


def answered(**values: object) -> RunEvent:
    return at(ToolCallAnswered, tool_call_id="c1", tool_name="pay", answered_at=NOW, **values)


def settled(**values: object) -> RunEvent:
    return at(ToolCallSettled, tool_call_id="c1", tool_name="pay", **values)


@pytest.fixture(autouse=True)
def fresh_console() -> None:
    console.cache_clear()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (at(ToolCallStarted, tool=call(**ASKS)), "pay(amount=5) waits for a person's approval for pool office"),
        (answered(answered_by="ann", pool="office"), "pay approved by ann"),
        (
            answered(answered_by="ann", pool="office", tool_args={"amount": 1}),
            "pay approved by ann, with changed arguments",
        ),
        (answered(), "pay answered by a person"),
        (settled(outcome="denied", answered_by="bob", answered_at=NOW), "pay denied by bob"),
        (settled(outcome="succeeded", answered_at=NOW), "pay succeeded by a person"),
        (settled(outcome="expired"), "pay expired"),
    ],
)
def test_an_event_says_who_did_it(event: RunEvent, words: str) -> None:
    assert event_words(event) == words


def test_a_call_that_asks_comes_with_both_ways_to_answer(capsys: pytest.CaptureFixture[str]) -> None:
    print_pending("run_1", [call(**ASKS)])
    said = capsys.readouterr().out
    assert "errandry approve run_1 c1      (or: errandry deny run_1 c1 --note '…')\n" in said


def test_an_approved_call_waits_for_its_pool_and_says_who_let_it(capsys: pytest.CaptureFixture[str]) -> None:
    shown = output(call(**ASKS))
    events = [at(ToolCallStarted, tool=call(**ASKS)), answered(answered_by="ann", pool="office")]
    print_run(shown, timeline_of(events, shown), unanswered=[call(**APPROVED)], now=NOW)
    said = capsys.readouterr().out
    assert "  pay(amount=5): waits for pool office, for 0.00 s (since 2026-01-02 03:04:05 UTC)\n" in said
    assert "    approved by ann at 2026-01-02 03:04:05 UTC, after 0.00 s\n" in said
    assert "errandry approve" not in said


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({**APPROVED, "outcome": "failed"}, "failed\n    approved by ann at 2026-01-02 03:04:05 UTC"),
        ({**APPROVED, "confirmed": False, "outcome": "denied"}, "denied\n    denied by ann at"),
        ({**APPROVED, "outcome": "failed", "requested_args": {}}, "approved by ann, with changed arguments at"),
        ({"outcome": "succeeded", "answered_at": NOW}, "succeeded\n    answered by a person at"),
        ({"outcome": "succeeded"}, "succeeded\n"),
    ],
)
def test_a_run_shows_who_answered_its_calls(
    capsys: pytest.CaptureFixture[str], values: dict[str, object], words: str
) -> None:
    shown = output(call(created_at=NOW, **values), status="COMPLETED", content="done")
    print_run(shown, timeline_of([], shown))
    assert words in capsys.readouterr().out


def test_all_runs_that_wait_are_listed_with_their_calls(capsys: pytest.CaptureFixture[str]) -> None:
    print_waiting([WaitingRun(output(call(**ASKS)), [call(**ASKS)])])
    print_waiting([])
    said = capsys.readouterr().out
    assert "run_1  demo  Pay 5\n  c1  pay(amount=5) waits for a person's approval for pool office\n" in said
    assert said.endswith("no run waits for people\n")
