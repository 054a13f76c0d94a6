"""What a follower reads: text as it comes on a terminal, whole lines in a pipe, and nothing that breaks into either."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import cast

import pytest
from rich.console import Console

from agent_core.events import RunEvent
from agent_core.run import RunOutput
from agent_core.tools.execution import ToolExecution
from queues.client import RunHandle
from tests.support.recordings import recorded_events, recorded_output
from workers import terminal
from workers.showing import following, lines
from workers.showing.following import Following, follow_run
from workers.showing.lines import LiveLines, WholeLines


class Told:
    """A run whose events are these; the part of a `RunHandle` that a follower uses."""

    run_id = "run_1"

    def __init__(self, events: list[RunEvent], output: RunOutput) -> None:
        self._events, self._output = events, output

    def events(self) -> Iterator[RunEvent]:
        return iter(self._events)

    def output(self) -> RunOutput:
        return self._output

    def pending(self) -> list[ToolExecution]:
        return []


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    return written_to(monkeypatch, is_terminal=False)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    return written_to(monkeypatch, is_terminal=True)


def written_to(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> io.StringIO:
    written = io.StringIO()
    drawn = Console(
        file=written, force_terminal=is_terminal, color_system=None, width=200, highlight=False, soft_wrap=True
    )
    for module in (terminal, following):
        monkeypatch.setattr(module, "console", lambda: drawn)
    return written


def told(name: str, *, content: str = "") -> RunHandle:
    events, output = recorded_events(name), recorded_output(name)
    output.content = content or events[-1].content
    return cast(RunHandle, Told(events, output))


STORY = [
    "           clerk | Once upon a time there was a clerk who counted lines.",
    "           clerk | Every line was counted twice, and",
]
WHOLE = [
    STORY[0],
    "           clerk | Every line was counted twice, and then once more, because nobody",
    "           clerk | trusted the first count. In the end all lines were there.",
]


def test_a_pipe_gets_whole_lines_and_the_answer_at_its_end(piped: io.StringIO) -> None:
    assert follow_run(told("takeover"), as_json=False) == 0
    said = [line.rstrip() for line in piped.getvalue().splitlines()]
    assert said == [
        "   0.00 s  started",
        *STORY,
        "   3.12 s  continued; the model is asked anew",
        "           what it said of this step until now is void",
        *WHOLE,
        "   7.59 s  completed",
        "",
        *(line.partition(" | ")[2] for line in WHOLE),
    ]


def test_a_terminal_gets_the_same_lines_and_the_answer_once(live: io.StringIO) -> None:
    assert follow_run(told("takeover"), as_json=False) == 0
    said = [line.rstrip() for line in live.getvalue().splitlines()]
    assert said[1:3] == STORY and said[5:8] == WHOLE
    assert said[8:] == ["   7.59 s  completed"]


def test_an_answer_that_was_not_told_in_full_is_printed(live: io.StringIO) -> None:
    follow_run(told("takeover", content="another answer"), as_json=False)
    assert live.getvalue().endswith(" s  completed\n\nanother answer\n")


def test_text_appears_piece_by_piece_on_a_terminal(live: io.StringIO) -> None:
    run = told("takeover")
    follower, seen = Following(run), []
    for event in recorded_events("takeover")[:3]:
        follower.tell(event)
        seen.append(live.getvalue())
    assert seen[1].endswith("           clerk | Once upo")
    assert seen[2].startswith(seen[1]) and seen[2].endswith("Every line was counted twice, and ")


def test_a_pipe_never_shows_half_a_line(piped: io.StringIO) -> None:
    follower = Following(told("takeover"))
    for event in recorded_events("takeover")[:-1]:
        follower.tell(event)
        assert piped.getvalue().endswith("\n")


def test_what_tools_write_stands_between_their_events(piped: io.StringIO) -> None:
    follow_run(told("two_pools"), as_json=False)
    said = piped.getvalue().splitlines()
    at = said.index("           count_lines | counting…")
    assert said[at + 1] == "           count_lines | done"
    assert said[at + 2].endswith(" s  count_lines succeeded in pool shell after 0.31 s")


def test_what_nobody_ended_is_still_printed(piped: io.StringIO) -> None:
    follower = Following(told("takeover"))
    for event in recorded_events("takeover")[:2]:
        follower.tell(event)
    follower.end_lines()
    assert piped.getvalue().endswith("           clerk | Once upo\n")


@pytest.mark.parametrize(
    ("pieces", "printed"),
    [
        (["a", "b\n", "c\n"], ["> ab", "> c"]),
        (["a\r", "\nb\n"], ["> a", "> b"]),
        (["10%\r20%\rdone"], ["> 10%", "> 20%", "> done"]),
        (["a\n\n", "b"], ["> a", ">", "> b"]),
        (["\x1b[2J\x07"], ["> ?[2J?"]),
        (["a\r"], ["> a"]),
    ],
)
def test_pieces_become_lines(
    pieces: list[str], printed: list[str], monkeypatch: pytest.MonkeyPatch, live: io.StringIO
) -> None:
    for kind in (WholeLines, LiveLines):
        writer = kind("> ")
        for piece in pieces:
            writer.feed(piece)
        writer.end()
        assert [line.rstrip() for line in live.getvalue().splitlines()] == printed, kind
        live.seek(0)
        live.truncate()


def test_other_lines_never_break_into_live_text(live: io.StringIO) -> None:
    text = LiveLines("> ")
    text.feed("one ")
    text.give_way()
    terminal.say("another")
    text.feed("two")
    text.give_way()
    text.give_way()
    text.end()
    assert live.getvalue().splitlines() == ["> one ", "another", "> two"]


def test_a_line_that_never_ends_is_not_kept_for_ever(piped: io.StringIO) -> None:
    writer = WholeLines("> ")
    for _ in range(3 * lines._LONGEST // 100):
        writer.feed("x" * 100)
    assert len(piped.getvalue()) > lines._LONGEST
