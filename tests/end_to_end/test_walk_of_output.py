"""Through real processes: who follows a run reads what a tool prints while the call is still executed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.events import RunCompleted, RunEvent, ToolCallExecuting, ToolCallOutput, ToolCallSettled
from queues.embedded import EmbeddedServer
from tests.support.walking import Walk, walking
from workers.showing.following import follow_run
from workers.terminal import console

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ERRANDRY_POOLS__SHELL__LIVE_OUTPUT", "true")
        with walking(tmp_path_factory.mktemp("walk"), cleared_server.url) as running:
            yield running


def words(event: RunEvent) -> str:
    return event.content if isinstance(event, ToolCallOutput) else event.event


def test_the_first_line_is_read_before_the_tool_goes_on(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    gate = Path(walk.settings.project_dir) / "gate"
    run = walk.client.submit("ops", f"Print and wait for {gate.name}")
    events: list[RunEvent] = []
    for event in run.events(timeout=BOUND):
        events.append(event)
        if isinstance(event, ToolCallOutput):
            gate.touch()
    assert isinstance(events[-1], RunCompleted), events[-1]
    kinds = ToolCallExecuting | ToolCallOutput | ToolCallSettled
    told = [words(event) for event in events if isinstance(event, kinds)]
    assert told == ["ToolCallExecuting", "before the gate\n", "behind the gate\n", "ToolCallSettled"]

    (first, second) = (event for event in events if isinstance(event, ToolCallOutput))
    assert (first.pool, first.tool_name, first.attempt) == ("shell", "print_and_wait", 1)
    assert first.worker.startswith("shell@")
    again = list(run.events(after=first.event_id, timeout=BOUND))
    assert second.event_id in [event.event_id for event in again]
    assert first.event_id not in [event.event_id for event in again]

    console.cache_clear()
    assert follow_run(run, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(place for place, line in enumerate(lines) if " executes in " in line)
    assert lines[at + 1 : at + 3] == [f"{'':11}print_and_wait | {side} the gate" for side in ("before", "behind")]
    assert follow_run(run, as_json=True) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["content"] for event in shown if event["event"] == "ToolCallOutput"] == told[1:3]


def test_a_pool_that_does_not_allow_it_tells_nothing(walk: Walk) -> None:
    run = walk.client.submit("ops", "Look inside")
    names = [event.event for event in run.events(timeout=BOUND)]
    assert names[-1] == "RunCompleted" and "ToolCallSettled" in names
    assert "ToolCallOutput" not in names
