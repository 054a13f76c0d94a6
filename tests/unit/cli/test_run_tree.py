"""A run as a tree of lines, in a pipe and on terminals of any width and encoding; and lists of runs there."""

from __future__ import annotations

import io
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from agent_core.run import RunOutput
from agent_core.tools.execution import ToolExecution
from tests.support.recordings import recorded_events, recorded_output
from workers.showing import branches, run_list
from workers.showing.branches import Branch, print_branches
from workers.showing.run import print_run
from workers.showing.run_list import print_runs
from workers.terminal import console
from workers.timeline.folding import timeline_of

RUN_ID = "run_01m82ww105td0y24n8h069za8m"


@pytest.fixture(autouse=True)
def fresh_console() -> None:
    console.cache_clear()


def terminal(width: int, encoding: str = "utf-8") -> tuple[Console, io.BytesIO]:
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding=encoding, write_through=True)
    drawn = Console(file=file, force_terminal=True, color_system=None, width=width, highlight=False, soft_wrap=True)
    return drawn, written


def said_of(name: str, capsys: pytest.CaptureFixture[str], *, unanswered: tuple[str, ...] = ()) -> list[str]:
    """What is printed of a recorded run, 90 seconds after its last event."""
    events, output = recorded_events(name), recorded_output(name)
    waiting = [call for call in output.tools if call.tool_name in unanswered]
    print_run(output, timeline_of(events, output), unanswered=waiting, now=later(events[-1].created_at))
    return capsys.readouterr().out.splitlines()


def later(moment: datetime) -> datetime:
    return moment + timedelta(seconds=90)


def test_a_run_has_its_times_and_tokens_on_top(capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of("two_pools", capsys)
    assert said[:7] == [
        "run      run_1",
        "agent    clerk",
        "status   COMPLETED",
        "created  2026-11-23 00:08:44 UTC, 2m ago",
        "took     1.08 s, 0.36 s of it paused",
        "tokens   219: 175 in, 44 out, in 2 model calls",
        "input    Two pools",
    ]


def test_steps_hold_turns_calls_attempts_and_pauses(capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of("two_pools", capsys)
    tree = said[said.index("step 1") :][:9]
    assert tree == [
        "step 1",
        "  model turn 0.71 s, asked for 2 calls; first text after 0.70 s",
        "  add(a=5, b=10): succeeded in pool python after 0.05 s",
        "    attempt 1 on python@host:1, 0.02 s in the queue, 0.01 s executing, succeeded, sandbox ns",
        "  count_lines(seconds=0.3): succeeded in pool shell after 0.34 s",
        "    attempt 1 on shell@host:2, 0.02 s in the queue, 0.31 s executing, succeeded, sandbox ns",
        "  paused for 0.36 s",
        "step 2",
        "  model turn 0.01 s, answered; first text after 0.01 s",
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("retries", "    attempt 2 on shell@host:1, 1.12 s after the one before, 0.22 s executing, failed, sandbox ns"),
        ("lost_worker", "    attempt 1 on shell@host:1, 0.01 s in the queue, lost: its worker died, sandbox ns"),
        (
            "takeover",
            "  model turn 3.12 s, void: its worker died or left, the model was asked anew; first text after 0.02 s",
        ),
        (
            "people",
            "    approved by ada, with changed arguments at 2026-11-23 00:09:01 UTC, after 0.01 s: fine",
        ),
        ("people", "  greet(name='you'): succeeded in the agent worker after 0.00 s"),
        ("cancelled", "  ask(item='bolts'): cancelled"),
    ],
)
def test_what_went_otherwise_is_told(name: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in said_of(name, capsys)


def test_who_is_waited_for_and_since_when(capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of("waiting", capsys, unanswered=("ask",))
    assert "took     1 m 30 s so far, 1 m 30 s of it paused" in said
    assert "  ask(item='bolts'): waits for a person's result, for 1 m 30 s (since 2026-11-23 00:09:01 UTC)" in said
    assert "  paused since 2026-11-23 00:09:01 UTC, for 1 m 30 s" in said
    assert said[-1].startswith("errandry settle run_1 call_2 --result ")


def test_a_call_that_executes_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    events, output = recorded_events("lost_worker")[:4], recorded_output("waiting")
    output.tools = [ToolExecution.model_validate(events[1].model_dump()["tool"])]
    now = events[-1].created_at + timedelta(seconds=2)
    print_run(output, timeline_of(events, output), unanswered=output.tools, now=now)
    said = capsys.readouterr().out.splitlines()
    assert "  flaky(times=0, seconds=6): executes in pool shell for 2.00 s" in said
    assert "    attempt 1 on shell@host:1, 0.01 s in the queue, executes for 2.00 s, sandbox ns" in said


@pytest.mark.parametrize("width", [30, 60, 120])
def test_the_tree_keeps_within_a_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, written = terminal(width)
    monkeypatch.setattr(branches, "console", lambda: drawn)
    print_branches([Branch("step 1", below=[Branch("a call\x1b[2J " * 20, below=[Branch("attempt 1\nof two")])])])
    lines = written.getvalue().decode().splitlines()
    assert max(len(line) for line in lines) <= width
    assert lines[0].rstrip() == "step 1" and lines[1].startswith("└── a call?[2J")
    assert lines[-1].rstrip() == "    └── attempt 1 of two"


def test_the_tree_is_drawn_with_what_the_encoding_has(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, written = terminal(40, "ascii")
    monkeypatch.setattr(branches, "console", lambda: drawn)
    print_branches([Branch("step 1", below=[Branch("a call")])])
    assert written.getvalue().decode("ascii").splitlines()[1].rstrip() == "`-- a call"


def runs(*statuses: str) -> list[RunOutput]:
    known = {
        "agent_name": "clerk",
        "input": "Count\nall the lines of the house, please",
        "created_at": "2026-01-02T03:04:05Z",
    }
    return [RunOutput.from_dict({**known, "run_id": RUN_ID, "status": status}) for status in statuses]


def listed(width: int, monkeypatch: pytest.MonkeyPatch, *statuses: str) -> list[str]:
    drawn, written = terminal(width)
    monkeypatch.setattr(run_list, "console", lambda: drawn)
    found = runs(*statuses)
    print_runs(found, waits_for={RUN_ID: "pool shell"}, now=later(found[0].created_at))
    return written.getvalue().decode().splitlines()


def test_a_wide_terminal_has_a_line_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = listed(90, monkeypatch, "COMPLETED", "ERROR")
    assert [len(line) <= 90 for line in lines] == [True, True]
    assert lines[1].startswith(f"{RUN_ID}  ERROR      clerk                2m  ")
    assert lines[0].endswith("…")


@pytest.mark.parametrize("width", [30, 45, 70])
def test_a_narrow_terminal_keeps_ids_whole_on_lines_of_their_own(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = listed(width, monkeypatch, "COMPLETED", "ERROR")
    assert lines[::2] == [RUN_ID, RUN_ID]
    assert all(len(line) <= width for line in lines[1::2])
    assert lines[1].startswith("  COMPLETED  clerk")


def test_a_pipe_gets_whole_lines_with_what_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    found = runs("PAUSED")
    print_runs(found, waits_for={RUN_ID: "pool shell"}, now=later(found[0].created_at))
    assert capsys.readouterr().out == (
        f"{RUN_ID}  PAUSED     clerk                2m  waits for pool shell: "
        "Count all the lines of the house, please\n"
    )
