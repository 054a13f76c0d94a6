"""What people read: words for events, lines for runs, the demo's board and its judgement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from agent_core.events import (
    RunCompleted,
    RunContinued,
    RunEvent,
    RunPaused,
    RunStarted,
    ToolCallCompleted,
    ToolCallExecuting,
    ToolCallSettled,
    ToolCallStarted,
)
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome, ToolExecution, UserInputField
from workers.demo.board import RunView
from workers.demo.prompts import PROMPTS, Prompt, problems_of
from workers.demo.screen import table_of
from workers.showing.events import event_words
from workers.showing.people import print_pending
from workers.showing.run import print_run
from workers.showing.run_list import print_runs
from workers.terminal import clean, console
from workers.timeline.folding import timeline_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def call(**values: object) -> ToolExecution:
    known = {"tool_call_id": "c1", "tool_name": "add", "tool_args": {"a": 5}, "step": 1}
    return ToolExecution.model_validate({**known, **values})


def in_pool(**values: object) -> ToolExecution:
    return call(external_execution_required=True, pool="python", **values)


def at(kind: type[RunEvent], seconds: float = 0, **values: object) -> RunEvent:
    known = {"run_id": "run_1", "agent_name": "demo", "step": 1, "created_at": NOW + timedelta(seconds=seconds)}
    return kind.model_validate({**known, **values})


def executing() -> RunEvent:
    return at(
        ToolCallExecuting, tool_call_id="c1", tool_name="add", pool="python", worker="w",
        queue_wait_seconds=0.02, sandbox_level="ns",
    )  # fmt: skip


def settled() -> RunEvent:
    return at(ToolCallSettled, tool_call_id="c1", tool_name="add", outcome="succeeded", pool="python", wall_seconds=0.5)


def output(**values: object) -> RunOutput:
    known = {"run_id": "run_1", "agent_name": "demo", "input": "Add 5 and 10", "created_at": NOW}
    return RunOutput.model_validate({**known, **values})


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (at(ToolCallStarted, tool=in_pool()), "add(a=5) waits for pool python"),
        (at(ToolCallStarted, tool=call()), "add(a=5) executes in the agent worker"),
        (at(ToolCallStarted, tool=call(requires_confirmation=True)), "add(a=5) waits for a person's yes or no"),
        (at(ToolCallStarted, tool=call(external_execution_required=True)), "add(a=5) waits for a person's result"),
        (executing(), "add executes in pool python, sandbox ns, after 0.02 s in the queue"),
        (settled(), "add succeeded in pool python after 0.50 s"),
        (at(RunPaused, tools=[in_pool()]), "paused; waits for pool python"),
        (at(ToolCallCompleted, tool=call(outcome="succeeded")), "add succeeded"),
        (at(ToolCallCompleted, tool=in_pool(outcome="succeeded")), None),
    ],
)
def test_an_event_has_its_words(event: RunEvent, words: str | None) -> None:
    assert event_words(event) == words


def test_a_pause_names_only_what_was_not_settled_before_it() -> None:
    paused = at(RunPaused, tools=[in_pool(), call(tool_call_id="c2", requires_confirmation=True)])
    assert event_words(paused, settled={(1, "c1")}) == "paused; waits for a person's yes or no"


def test_an_answer_that_waits_for_others_is_no_call_that_waits(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    calls = [in_pool(), call(tool_call_id="c2", external_execution_required=True)]
    paused = output(status="PAUSED", tools=calls)
    print_run(paused, timeline_of([], paused), unanswered=calls[1:])
    said = capsys.readouterr().out
    assert "add(a=5): answered; the run goes on once all are\n" in said
    assert "add(a=5): waits for a person's result, for" in said and "errandry settle run_1 c2" in said


def test_long_arguments_are_cut() -> None:
    words = event_words(at(ToolCallStarted, tool=call(tool_args={"text": "x" * 500})))
    assert words is not None
    assert len(words) < 120
    assert "…" in words


def test_nothing_can_steer_the_terminal() -> None:
    assert clean("a\x1b[2Jb\x07\r\nc\td\x9b1m") == "a?[2Jb?\nc\td?1m"


def test_a_run_is_shown_with_its_calls_and_its_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    paused = output(
        status="PAUSED",
        tools=[
            call(requires_confirmation=True),
            call(
                tool_call_id="c2",
                requires_user_input=True,
                user_input_schema=[UserInputField(name="city", field_type="string")],
            ),
            in_pool(tool_call_id="c3", outcome="failed", metrics={"pool": "python", "sandbox_level": "ns"}),
        ],
    )
    print_run(paused, timeline_of([], paused), unanswered=paused.tools[:2])
    said = capsys.readouterr().out
    assert "status   PAUSED" in said
    assert "errandry approve run_1 c1" in said
    assert "errandry answer run_1 c2 city=…" in said
    assert "add(a=5): failed\n" in said
    failed = output(status="ERROR", error="the key is missing\x1b[31m")
    print_run(failed, timeline_of([], failed))
    assert capsys.readouterr().out.endswith("\nERROR: the key is missing?[31m\n")


@pytest.mark.parametrize(
    ("status", "error", "line"),
    [
        ("PENDING", "parked: no agent worker at hand offers demo", "parked   no agent worker at hand offers demo"),
        ("PAUSED", "parked: no agent worker at hand has x", "parked   no agent worker at hand has x"),
        ("PENDING", "expired: the run was not done by its deadline", "before   expired: the run was not done by its"),
        ("ERROR", "expired: nobody answered add in time", "ERROR: expired: nobody answered add in time"),
        ("ERROR", "buried: 3 workers died", "ERROR: buried: 3 workers died"),
        ("ERROR", "no key", "errandry retry run_1      (goes on from where it stopped)"),
    ],
)
def test_a_run_that_stands_still_says_why(
    status: str, error: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console.cache_clear()
    stands = output(status=status, error=error)
    print_run(stands, timeline_of([], stands))
    assert f"\n{line}" in capsys.readouterr().out


def test_runs_have_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    print_runs([output(input="two\nlines")], now=NOW + timedelta(seconds=90))
    assert capsys.readouterr().out == "run_1  PENDING    demo                 2m  two lines\n"
    print_runs([])
    assert capsys.readouterr().out == "no runs\n"


def test_pending_without_calls_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    print_pending("run_1", [])
    assert capsys.readouterr().out == "run_1 waits for nothing\n"


def test_the_board_follows_a_run_through_a_pool() -> None:
    view = RunView("Add 5 and 10", "run_1", NOW)
    seen = []
    for event in (
        at(RunStarted),
        at(ToolCallStarted, tool=in_pool()),
        at(RunPaused, tools=[in_pool()]),
        executing(),
        settled(),
        at(RunContinued),
        at(RunCompleted, 2.5),
    ):
        view.apply(event)
        calls = [(shown.state, shown.place) for shown in view.calls.values()]
        seen.append((view.state, *calls))
    assert seen == [
        ("with the model",),
        ("with the model", ("queued", "pool python")),
        ("paused, held by nobody", ("queued", "pool python")),
        ("paused, held by nobody", ("executing", "pool python, sandbox ns")),
        ("paused, held by nobody", ("succeeded, settled", "pool python, sandbox ns")),
        ("continued, with the model", ("succeeded, settled", "pool python, sandbox ns")),
        ("completed", ("succeeded, settled", "pool python, sandbox ns")),
    ]
    assert (view.pauses, view.is_over, view.took_seconds) == (1, True, 2.5)


def test_the_table_shows_every_run_and_call() -> None:
    view = RunView("Add 5 and 10", "run_1", NOW)
    view.apply(at(ToolCallStarted, tool=in_pool()))
    view.apply(executing())
    drawn = Console(width=120)
    with drawn.capture() as captured:
        drawn.print(table_of([view]))
    text = captured.get()
    assert "1 Add 5 and 10" in text
    assert "add(a=5)" in text
    assert "pool python, sandbox ns" in text
    assert "0.02 s" in text


def ended(prompt: Prompt, **values: object) -> RunOutput:
    tools = [
        call(tool_call_id=name, tool_name=name, outcome="failed" if name in prompt.failing else "succeeded")
        for name in prompt.calls
    ]
    return output(**{"status": "COMPLETED", "tools": tools, "content": " ".join(prompt.answer), **values})


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.text)
def test_a_run_that_ends_well_has_no_problems(prompt: Prompt) -> None:
    assert problems_of(prompt, ended(prompt), pauses=prompt.pauses, model="scripted") == []


def test_every_way_to_end_otherwise_is_a_problem() -> None:
    prompt = Prompt("Add 5 and 10", shows="", calls=("add",), answer=("15",))
    fine = ended(prompt)
    for changed, pauses, sentence in (
        ({"status": "ERROR", "error": "no key"}, 1, "it is ERROR: no key"),
        ({"status": "RUNNING"}, 1, "it is RUNNING: it did not end in time"),
        ({"tools": []}, 1, "add was not called"),
        ({"tools": [call(outcome="timed_out")]}, 1, "add timed_out instead of succeeded"),
        ({"content": "16"}, 1, "the answer lacks '15': '16'"),
        ({"tools": [*fine.tools, call(tool_name="rm", outcome="succeeded")]}, 1, "it called add, rm"),
        ({}, 2, "it paused 2 times instead of 1"),
    ):
        assert sentence in problems_of(prompt, ended(prompt, **changed), pauses=pauses, model="scripted")
    failing = Prompt("Read", shows="", calls=("add",), failing=("add",))
    assert problems_of(
        failing, ended(failing, tools=[call(outcome=CallOutcome.SUCCEEDED)]), pauses=1, model="local"
    ) == ["add succeeded instead of failed"]


def test_a_real_model_is_judged_by_its_calls_and_not_by_its_words() -> None:
    prompt = PROMPTS[1]
    assert problems_of(prompt, ended(prompt, content="fifteen"), pauses=3, model="openai") == []
    assert problems_of(prompt, ended(prompt, status=RunStatus.CANCELLED), pauses=1, model="openai") != []
