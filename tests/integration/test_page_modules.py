"""The page's own reckoning, in a real browser: what events tell, where a moment is drawn, numbers of many digits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_core import events
from agent_core.events import RunEvent
from agent_core.tools.execution import CallOutcome, ToolExecution
from tests.support import browser as browsing
from tests.support.browser import Browser, chromium
from tests.support.gateways import project, serving

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not browsing.is_there(), reason=browsing.MISSING),
]
BEGAN = datetime(2026, 5, 1, 12, tzinfo=UTC)
TELL = """
const [told, end] = arguments;
return import('./page/story.js').then(async ({ Story, awaited }) => {
  const { segments, standing } = await import('./page/timeline.js');
  const story = new Story(Date.parse(told[0].created_at));
  told.forEach((event) => story.take(event));
  return story.entries.map((entry) => ({
    name: entry.kind === 'turn' ? `model ${entry.step}` : entry.name,
    said: standing(entry, story.endedAt !== null)[0],
    waits: entry.kind === 'call' ? awaited(entry)?.kind ?? null : null,
    text: entry.text ?? null,
    pieces: segments(entry, story.endedAt ?? Date.parse(end)).map(
      (one) => [one.kind, (one.from - story.askedAt) / 1000, (one.to - story.askedAt) / 1000]),
  }));
});
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def browser(opened: Browser, tmp_path: Path, redis_url: str) -> Iterator[Browser]:
    with serving(project(tmp_path, redis_url)) as served:
        opened.open(f"{served.url}/")
        yield opened


def told(browser: Browser, *happened: RunEvent, until: float = 100) -> list[dict[str, Any]]:
    """The entries of the timeline after these events."""
    end = (BEGAN + timedelta(seconds=until)).isoformat()
    found: list[dict[str, Any]] = browser.run(TELL, [event.to_dict() for event in happened], end)
    return found


def at(seconds: float, kind: type[RunEvent], step: int = 1, **more: Any) -> RunEvent:
    when = BEGAN + timedelta(seconds=seconds)
    return kind(run_id="run", agent_name="ops", step=step, created_at=when, **more)


def tool(**more: Any) -> ToolExecution:
    values: dict[str, Any] = {
        "tool_call_id": "a",
        "tool_name": "look",
        "step": 1,
        "external_execution_required": True,
        "pool": "shell",
    }
    return ToolExecution(**{**values, **more})


EXECUTING: dict[str, Any] = {"tool_call_id": "a", "tool_name": "look", "pool": "shell", "worker": "w"}


def test_each_attempt_is_a_piece_of_its_own(browser: Browser) -> None:
    done = tool(result="x", outcome=CallOutcome.SUCCEEDED)
    entries = told(
        browser,
        at(0, events.RunStarted),
        at(2, events.ToolCallStarted, tool=tool()),
        at(2, events.RunPaused),
        at(3, events.ToolCallExecuting, attempt=1, **EXECUTING),
        at(5, events.ToolCallExecuting, attempt=2, **EXECUTING),
        at(8, events.ToolCallSettled, attempt=2, outcome=CallOutcome.SUCCEEDED, **EXECUTING),
        at(9, events.RunContinued),
        at(9, events.ToolCallCompleted, tool=done),
        until=10,
    )
    assert [entry["name"] for entry in entries] == ["model 1", "look", "model 2"]
    assert entries[0]["pieces"] == [["model", 0, 2]] and entries[2]["pieces"] == [["model", 9, 10]]
    assert entries[1]["pieces"] == [
        ["queued", 2, 3], ["executing", 3, 5], ["executing", 5, 8], ["settled", 8, 9],
    ]  # fmt: skip
    assert [entry["said"] for entry in entries] == ["done", "succeeded", "thinking"]


def test_a_call_waits_for_a_person_first_and_for_its_pool_afterwards(browser: Browser) -> None:
    begun = [
        at(0, events.RunStarted),
        at(1, events.ToolCallStarted, tool=tool(requires_approval=True)),
        at(1, events.RunPaused),
    ]
    (_, call) = told(browser, *begun, until=5)
    assert (call["waits"], call["said"]) == ("approval", "waits for a person\u2019s approval")
    assert call["pieces"] == [["person", 1, 5]]
    answered = at(4, events.ToolCallAnswered, tool_call_id="a", tool_name="look", pool="shell")
    (_, call) = told(browser, *begun, answered, until=6)
    assert (call["waits"], call["said"]) == ("pool", "queued")
    assert call["pieces"] == [["person", 1, 4], ["queued", 4, 6]]
    (_, call) = told(browser, *begun, at(7, events.RunCancelled))
    assert (call["said"], call["pieces"]) == ("not done", [["person", 1, 7]])


def test_text_that_is_void_is_told_anew(browser: Browser) -> None:
    entries = told(
        browser,
        at(0, events.RunStarted),
        at(1, events.RunContent, content="half a sen"),
        at(9, events.RunContinued, voids_text=True),
        at(10, events.RunContent, content="a whole "),
        at(11, events.RunContent, content="sentence"),
        at(12, events.RunCompleted, content="a whole sentence"),
    )
    assert [(entry["name"], entry["said"]) for entry in entries] == [("model 1", "begun anew"), ("model 1", "done")]
    assert entries[1]["text"] == "a whole sentence"


def test_a_retried_run_goes_on(browser: Browser) -> None:
    entries = told(
        browser,
        at(0, events.RunStarted),
        at(1, events.RunError, content="no model"),
        at(50, events.RunContinued, voids_text=True),
        at(52, events.RunCompleted, content="done"),
    )
    assert [entry["said"] for entry in entries] == ["failed", "done"]
    assert [entry["pieces"] for entry in entries] == [[["model", 0, 1]], [["model", 50, 52]]]


def test_inline_calls_of_a_batch_make_no_turns_in_between(browser: Browser) -> None:
    one, two = ({"tool_call_id": each, "external_execution_required": False, "pool": None} for each in "ab")
    done = {"result": "x", "outcome": CallOutcome.SUCCEEDED}
    entries = told(
        browser,
        at(0, events.RunStarted),
        at(1, events.ToolCallStarted, tool=tool(**one)),
        at(2, events.ToolCallCompleted, tool=tool(**one, **done)),
        at(2, events.ToolCallStarted, tool=tool(**two)),
        at(3, events.ToolCallError, tool=tool(**two, result="no", outcome=CallOutcome.FAILED)),
        until=4,
    )
    assert [(entry["name"], entry["said"]) for entry in entries] == [
        ("model 1", "done"), ("look", "succeeded"), ("look", "failed"), ("model 2", "thinking"),
    ]  # fmt: skip


def test_a_long_wait_is_drawn_short(browser: Browser) -> None:
    script = """
    return import('./page/scale.js').then(({ scaleOf }) => {
      const scale = scaleOf(0, 1e9, [[0, 4000], [1e9 - 4000, 1e9]]);
      return [[0, 2000, 4000, 1e9 - 4000, 1e9].map(scale.place), scale.cuts.length];
    })"""
    (places, cuts) = browser.run(script)
    assert cuts == 1 and places[0] == 0 and places[4] == 1
    assert places == sorted(places)
    assert places[3] - places[2] < 0.3 < places[2]
    even = "return import('./page/scale.js').then(({ scaleOf }) => [0, 5, 10].map(scaleOf(0, 10, [[0, 10]]).place))"
    assert browser.run(even) == [0, 0.5, 1]
    empty = "return import('./page/scale.js').then(({ scaleOf }) => [7].map(scaleOf(7, 7, []).place))"
    assert browser.run(empty) == [0]


def test_numbers_keep_their_digits_and_unseen_characters_are_spelt_out(browser: Browser) -> None:
    script = """
    return import('./page/json.js').then(({ parse, written, compact, plain }) =>
      [written(parse(arguments[0])), compact(parse(arguments[0])), plain(arguments[0])])"""
    whole, line, text = browser.run(
        script.replace("arguments[0]", repr('{"id": 12345678901234567890, "a": "\u202eb"}'))
    )
    assert whole == '{\n  "id": 12345678901234567890,\n  "a": "\\u202eb"\n}'
    assert line == '{ "id": 12345678901234567890, "a": "\\u202eb" }'
    assert "\\u202e" in text


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(0, "0 ms"), (994, "994 ms"), (1234, "1.2 s"), (9960, "10 s"), (59_400, "59 s"), (59_700, "1 min"),
     (192_000, "3 min 12 s"), (599_700, "10 min"), (3_599_000, "1 h"), (7_500_000, "2 h 5 min"),
     (86_400_000, "1 d"), (273_600_000, "3 d 4 h")],
)  # fmt: skip
def test_durations_read_well(browser: Browser, milliseconds: int, words: str) -> None:
    script = "const [ms] = arguments; return import('./page/time.js').then(({ duration }) => duration(ms))"
    assert browser.run(script, milliseconds) == words
