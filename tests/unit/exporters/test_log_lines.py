"""Which line each telemetry event becomes, and that none of them ever raises into the work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping

import pytest

from agent_core import telemetry
from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel, call
from agent_core.telemetry import EVENTS
from agent_core.tools import tool
from workers.exporters.log_context import bound, current, follow_inline_calls
from workers.exporters.log_lines import LogLines

CALL: Mapping[str, object] = {
    "run_id": "run_1",
    "step": 2,
    "tool_call_id": "call_3",
    "pool": "shell",
    "tool_name": "look_up",
}
SAMPLE: Mapping[str, object] = {
    **CALL,
    "agent": "ops",
    "model": "gpt",
    "status": "COMPLETED",
    "found": "PENDING",
    "kind": "run",
    "outcome": "succeeded",
    "verdict": "last",
    "attempt": 1,
    "epoch": 1,
    "reason": "start",
    "sandbox_level": "ns",
}


def sample(event: str) -> dict[str, object]:
    """Fields as the event has them; what is not named above is a number."""
    return {name: SAMPLE.get(name, 1.23456) for name in EVENTS[event]}


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="errandry")


def said(caplog: pytest.LogCaptureFixture, lines: LogLines, event: str, **fields: object) -> tuple[str, str]:
    """Level and message of the one line that the event becomes."""
    caplog.clear()
    lines(event, {**sample(event), **fields})
    (record,) = caplog.records
    return record.levelname, record.getMessage()


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_of_the_table_is_one_line_with_its_fields(caplog: pytest.LogCaptureFixture, event: str) -> None:
    LogLines()(event, sample(event))
    (record,) = caplog.records
    fields = record.fields  # type: ignore[attr-defined]
    assert fields == {"event": event} | {
        name: round(value, 4) if isinstance(value, float) else value for name, value in sample(event).items()
    }


def test_no_field_of_an_event_takes_the_place_of_what_each_line_says() -> None:
    of_each_line = {"time", "level", "process", "worker", "logger", "message", "event", "exception", "traceback"}
    assert [event for event, fields in EVENTS.items() if of_each_line & set(fields)] == []


def test_what_a_person_wants_to_know_is_told_at_info(caplog: pytest.LogCaptureFixture) -> None:
    at_info = set()
    for event in EVENTS:
        caplog.clear()
        LogLines()(event, sample(event))
        if caplog.records[0].levelno >= logging.INFO:
            at_info.add(event)
    assert at_info == {"run.claimed", "run.left", "run.ended", "call.settled", "lease.lost", "sandbox.refused"}


@pytest.mark.parametrize(
    ("event", "fields", "expected"),
    [
        ("run.claimed", {"found": "PENDING"}, ("INFO", "run run_1 of ops begins")),
        ("run.claimed", {"found": "ERROR"}, ("INFO", "run run_1 of ops is retried from step 2")),
        ("run.claimed", {"found": "PAUSED"}, ("INFO", "run run_1 of ops goes on at step 2")),
        (
            "run.claimed",
            {"found": "RUNNING"},
            ("INFO", "run run_1 of ops is taken over from a worker that died or left, at step 2"),
        ),
        (
            "run.left",
            {"status": "PAUSED", "age_seconds": 3.14159},
            ("INFO", "run run_1 of ops is paused at step 2, 3.14 s after its submit"),
        ),
        (
            "run.left",
            {"status": "COMPLETED", "age_seconds": 412.7},
            ("INFO", "run run_1 of ops ended: COMPLETED at step 2, 413 s after its submit"),
        ),
        (
            "run.left",
            {"status": "ERROR"},
            ("WARNING", "run run_1 of ops ended: ERROR at step 2, 1.23 s after its submit"),
        ),
        ("run.left", {"status": "lost"}, ("WARNING", "run run_1 of ops is lost at step 2, 1.23 s after its submit")),
        (
            "run.left",
            {"status": "parked"},
            ("WARNING", "run run_1 of ops is parked at step 2, 1.23 s after its submit"),
        ),
        (
            "run.ended",
            {"status": "CANCELLED"},
            ("INFO", "run run_1 of ops was ended from outside: CANCELLED, 1.23 s after its submit"),
        ),
        (
            "sandbox.refused",
            {"reason": "process"},
            ("WARNING", "no sandbox could be set up for a call in pool shell"),
        ),
        ("call.settled", {"verdict": "last"}, ("INFO", "call of look_up succeeded")),
        (
            "call.settled",
            {"verdict": "retry", "outcome": "failed"},
            ("INFO", "call of look_up failed; it is tried again"),
        ),
        (
            "call.settled",
            {"verdict": "already", "outcome": "cancelled"},
            ("INFO", "call of look_up cancelled, but it had its answer already, which stands"),
        ),
        (
            "call.settled",
            {"verdict": "stale"},
            ("WARNING", "call of look_up succeeded, but that answer was refused: stale"),
        ),
        ("model.answered", {"outcome": "failed"}, ("WARNING", "model gpt failed after 1.23 s")),
        ("lease.lost", {"kind": "call"}, ("WARNING", "the lease of a call is lost; what comes of it here is dropped")),
    ],
)
def test_a_line_is_a_sentence(
    caplog: pytest.LogCaptureFixture, event: str, fields: dict[str, object], expected: tuple[str, str]
) -> None:
    assert said(caplog, LogLines(), event, **fields) == expected


def test_the_line_of_a_call_holds_what_earlier_events_said_of_it(caplog: pytest.LogCaptureFixture) -> None:
    lines = LogLines()
    for other in ("call_3", "call_4"):
        lines("call.claimed", {**sample("call.claimed"), "tool_call_id": other, "queue_wait_seconds": 0.25})
        lines("call.executed", {**sample("call.executed"), "tool_call_id": other, "wall_seconds": 1.5})
    assert said(caplog, lines, "call.settled")[1] == "call of look_up succeeded in 1.50 s after 0.25 s in the queue"
    assert "1.50 s" not in said(caplog, lines, "call.settled")[1], "and forgets it then"


def test_calls_whose_end_is_told_elsewhere_are_not_kept_for_ever() -> None:
    lines = LogLines()
    logging.getLogger("errandry").setLevel(logging.ERROR)
    for number in range(10_500):
        lines("call.claimed", {**sample("call.claimed"), "tool_call_id": f"call_{number}"})
    assert len(lines._open) == 10_000


def test_nothing_is_raised_into_the_work(caplog: pytest.LogCaptureFixture) -> None:
    for event in [*EVENTS, "no.such.event"]:
        LogLines()(event, {})
    assert any("could not be written" in record.message for record in caplog.records)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a worker, for the length of a test."""
    monkeypatch.setattr(telemetry, "_listeners", [follow_inline_calls])
    yield


@pytest.mark.usefixtures("listening")
def test_lines_of_an_inline_tool_bear_its_call() -> None:
    seen: list[Mapping[str, object]] = []

    @tool
    def look(where: str) -> str:
        """Look."""
        seen.append(dict(current()))
        return where

    @tool
    async def wait(where: str) -> str:
        """Wait."""
        await asyncio.sleep(0)
        seen.append(dict(current()))
        return where

    calls = [
        call("look", call_id="a", where="x"),
        call("wait", call_id="b", where="y"),
        call("look", call_id="c", where="z"),
    ]
    agent = Agent(name="ops", model=ScriptedModel([calls, "done"]), tools=[look, wait])
    with bound(run_id="run_1"):
        assert agent.run("look around").content == "done"
        assert asyncio.run(agent.arun("look around")).content == "done"
        assert current() == {"run_id": "run_1"}, "and no longer than that"
    assert sorted(str(ids["tool_call_id"]) for ids in seen) == ["a", "a", "b", "b", "c", "c"]
    assert {(ids["run_id"], ids["tool_name"]) for ids in seen} == {("run_1", "look"), ("run_1", "wait")}
