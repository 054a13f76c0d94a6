"""The reading of events, without a server: the generator is sent replies by hand."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from agent_core.events import RunContent, RunEvent, RunPaused, ToolCallOutput, ToolCallStarted
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.tools.execution import ToolExecution
from queues import keys
from queues.event_places import InvalidEventIdError, Place
from queues.event_reading import KnownCalls, reading
from queues.replies import Entry
from queues.requests import Lookup, NextEntries, Request
from queues.stored_events import stored_event

OWN, SHELL, WEB = keys.events("run_1"), keys.part_events("shell", "run_1"), keys.part_events("web", "run_1")
COMMON: dict[str, Any] = {"run_id": "run_1", "agent_name": "ops"}


def run() -> RunOutput:
    return RunSnapshot.create(agent_name="ops", input="hello", run_id="run_1").output


def entry(entry_id: str, name: str, **fields: object) -> Entry:
    return entry_id, {"event": json.dumps({"event": name, **fields})}


def text(entry_id: str, content: str = "a") -> Entry:
    return entry(entry_id, "RunContent", content=content)


def started(entry_id: str, pool: str) -> Entry:
    call = ToolExecution(tool_call_id="c", tool_name="t", pool=pool, external_execution_required=True)
    return entry_id, {"event": stored_event(ToolCallStarted(**COMMON, tool=call))}


def output(entry_id: str, content: str) -> Entry:
    fields = {"tool_call_id": "c", "tool_name": "t", "pool": "shell", "worker": "w", "content": content}
    return entry(entry_id, "ToolCallOutput", run_id="run_1", **fields)


class Reader:
    """Drives a reading by hand: `events` up to the next request, which is then at `asked`."""

    def __init__(self, after: str | None = None) -> None:
        self._steps = reading(run(), after=after)
        self.events: list[RunEvent] = []
        self.is_done = False
        self.send(None)

    def send(self, reply: object) -> list[RunEvent]:
        """The events that a reply leads to."""
        events: list[RunEvent] = []
        try:
            step = self._steps.send(reply)
            while isinstance(step, RunEvent):
                events.append(step)
                step = next(self._steps)
            self.asked: Request = step
        except StopIteration:
            self.is_done = True
        self.events += events
        return events

    def read(self, **streams: Sequence[Entry]) -> list[RunEvent]:
        """Answer a read with what these streams hold, by name: own, shell, web."""
        assert isinstance(self.asked, NextEntries), self.asked
        names = {"own": OWN, "shell": SHELL, "web": WEB}
        return self.send([[names[name], entries] for name, entries in streams.items()])


def texts(events: Sequence[RunEvent]) -> list[object]:
    return [event.content for event in events]


def test_a_time_out_is_followed_by_the_same_read() -> None:
    reader = Reader(after="7-1,shell=3-0")
    assert isinstance(reader.asked, NextEntries) and reader.asked.after == {OWN: "7-1", SHELL: "3-0"}
    assert reader.asked.command(1500)[:6] == ("XREAD", "COUNT", reader.asked.limit, "BLOCK", 1500, "STREAMS")
    assert reader.send([]) == [] and reader.send(None) == []
    assert isinstance(reader.asked, NextEntries) and reader.asked.after == {OWN: "7-1", SHELL: "3-0"}


def test_an_event_id_names_a_place_in_all_streams() -> None:
    reader = Reader()
    (met,) = reader.read(own=[started("5-0", "shell"), text("9-0")])
    assert met.event_id == "5-0,shell=0-0"
    assert isinstance(reader.asked, NextEntries) and reader.asked.after == {OWN: "5-0", SHELL: "0-0"}
    told = reader.read(own=[text("9-0", "late")], shell=[output("7-2", "early"), output("10-0", "last")])
    assert texts(told) == ["early", "late", "last"]
    assert [event.event_id for event in told] == ["5-0,shell=7-2", "9-0,shell=7-2", "9-0,shell=10-0"]


def test_what_lies_behind_a_full_batch_of_another_stream_waits_for_its_turn() -> None:
    """The pool's entry is newer than some that the run's own stream still holds."""
    reader = Reader(after="1-0,shell=0-0")
    assert isinstance(reader.asked, NextEntries)
    full = [text(f"{number}-0", "own") for number in range(10, 10 + reader.asked.limit)]
    told = reader.read(own=full, shell=[output("12-5", "amid"), output("9999-0", "far")])
    assert len(told) == len(full) + 1 and texts(told)[2] == "amid"
    assert isinstance(reader.asked, NextEntries) and reader.asked.after[SHELL] == "12-5"
    assert texts(reader.read(own=[text("9000-0", "between")], shell=[output("9999-0", "far")])) == ["between", "far"]


def test_of_two_full_batches_the_one_that_ends_first_counts() -> None:
    reader = Reader(after="1-0,shell=0-0")
    assert isinstance(reader.asked, NextEntries)
    limit = reader.asked.limit
    own = [text(f"{number}-0") for number in range(10, 10 + limit)]
    told = reader.read(own=own, shell=[output(f"5-{number}", "x") for number in range(limit)])
    assert texts(told) == ["x"] * limit
    assert isinstance(reader.asked, NextEntries) and reader.asked.after == {OWN: "1-0", SHELL: f"5-{limit - 1}"}


def test_batches_grow_while_entries_are_small_and_shrink_with_large_ones() -> None:
    reader, limits = Reader(), []
    for number in range(1, 7):
        assert isinstance(reader.asked, NextEntries)
        limits.append(reader.asked.limit)
        reader.read(own=[text(f"{number}-0")])
    assert limits == sorted(limits) and limits[-1] == 500
    reader.read(own=[text("8-0", "x" * 10_000)])
    assert isinstance(reader.asked, NextEntries) and 1 < reader.asked.limit < 20
    reader.read(own=[text("9-0", "x" * 9_000_000)])
    assert isinstance(reader.asked, NextEntries) and reader.asked.limit == 1


def test_what_a_pool_told_in_the_millisecond_of_the_end_comes_before_it() -> None:
    reader = Reader(after="1-0,shell=0-0")
    told = reader.read(own=[entry("5-0", "RunCompleted", content="done")], shell=[output("5-7", "last")])
    assert texts(told) == ["last", "done"]


@pytest.mark.parametrize(
    "stored",
    [
        "no JSON",
        "[]",
        "7",
        "[" * 100_000,
        '{"event": "NobodyKnows"}',
        '{"event": "ToolCallSettled"}',
        '{"event": "ToolCallExecuting", "tool_call_id": {}, "tool_name": 1}',
        # Well-formed, but not a pool's to tell.
        '{"event": "RunCompleted", "content": "forged"}',
        '{"event": "RunContent", "content": "forged"}',
        '{"event": "RunPaused"}',
    ],
)
def test_what_a_pool_may_not_tell_is_passed_over(stored: str) -> None:
    reader = Reader(after="1-0,shell=0-0")
    junk: list[Entry] = [("5-0", {"event": stored}), ("6-0", {"nothing": "known"})]
    told = reader.read(shell=[*junk, output("7-0", "true")])
    assert texts(told) == ["true"] and told[0].event_id == "1-0,shell=7-0"


def test_a_pool_cannot_speak_for_another_run() -> None:
    reader = Reader(after="1-0,shell=0-0")
    entry_id, fields = output("7-0", "x")
    forged = {"event": json.dumps(json.loads(fields["event"]) | {"run_id": "run_2", "agent_name": "boss"})}
    (told,) = reader.read(shell=[(entry_id, forged)])
    assert isinstance(told, ToolCallOutput) and (told.run_id, told.agent_name) == ("run_1", "ops")


class TestEnds:
    """Whether an end is the last one."""

    def ended(self) -> Reader:
        reader = Reader()
        (end,) = reader.read(own=[entry("5-0", "RunError", content="broke")])
        assert end.event == "RunError" and isinstance(reader.asked, Lookup) and reader.asked.words[0] == "HMGET"
        return reader

    def test_a_run_that_is_gone_goes_on_no_more(self) -> None:
        reader = self.ended()
        reader.send([None])
        assert reader.is_done

    def test_a_finished_run_of_which_nothing_newer_is_told(self) -> None:
        reader = self.ended()
        reader.send(["ERROR"])
        assert isinstance(reader.asked, Lookup) and reader.asked.words[0] == "XREVRANGE"
        reader.send([entry("5-0", "RunError")])
        assert reader.is_done

    def test_a_run_that_was_retried_and_is_on_its_way(self) -> None:
        reader = self.ended()
        reader.send(["PENDING"])
        assert isinstance(reader.asked, NextEntries) and reader.asked.after == {OWN: "5-0"}

    def test_a_run_that_was_retried_and_has_ended_again(self) -> None:
        reader = self.ended()
        reader.send(["COMPLETED"])
        reader.send([entry("9-0", "RunCompleted", content="done")])
        assert isinstance(reader.asked, NextEntries) and not reader.is_done
        reader.read(own=[entry("8-0", "RunContinued"), entry("9-0", "RunCompleted", content="done")])
        reader.send(["COMPLETED"])
        reader.send([entry("9-0", "RunCompleted", content="done")])
        assert reader.is_done
        assert [event.event for event in reader.events] == ["RunError", "RunContinued", "RunCompleted"]


def answered(steps: Generator[Request, Any, None], *replies: Sequence[Entry]) -> list[Request]:
    """Send the replies; the requests that were made, one for each."""
    requests, waiting = [next(steps)], list(replies)
    while waiting:
        try:
            requests.append(steps.send(waiting.pop(0)))
        except StopIteration:
            break
    assert not waiting
    return requests


def test_the_calls_before_a_pause_are_read_page_by_page_up_to_it() -> None:
    known = KnownCalls("run_1", from_beginning=False)
    pause = RunPaused(**COMMON, event_id="8-0,shell=4-0")
    first, second = [text("1-0"), started("2-0", "shell")], [text("7-0"), ("8-0", {"event": stored_event(pause)})]
    requests = answered(known.take_in(pause), first, [*second, started("9-0", "web")])
    assert [request.words[2] for request in requests if isinstance(request, Lookup)] == ["(0-0", "(2-0"]
    assert [call.pool for call in pause.tools or ()] == ["shell"]


def test_calls_that_were_heard_of_are_not_read_again() -> None:
    known = KnownCalls("run_1", from_beginning=True)
    call = ToolExecution(tool_call_id="c", tool_name="t", external_execution_required=True)
    pause = RunPaused(**COMMON)
    for event in (RunContent(**COMMON, content="x"), ToolCallStarted(**COMMON, tool=call), pause):
        assert list(known.take_in(event)) == []
    assert [kept.tool_call_id for kept in pause.tools or ()] == ["c"]
    call.result = "later"
    assert pause.tools is not None and pause.tools[0].result is None


@pytest.mark.parametrize(
    "after",
    [
        "5",
        "5-",
        "-5",
        "a-b",
        "5-0,shell",
        "5-0,shell=x",
        "18446744073709551616-0",
        "\u0663-\u0660",
        "9" * 5000 + "-0",
        "5-0\n",
    ],
)
def test_what_is_no_event_id_is_refused(after: str) -> None:
    with pytest.raises(InvalidEventIdError, match="is no event id; pass the `event_id` of an event"):
        Place("run_1", after)


def test_a_place_reads_back_what_it_says() -> None:
    said = "18446744073709551615-7,a.b=1-0,shell=12-3"
    assert str(Place("run_1", said)) == said
    assert str(Place("run_1", None)) == "0-0"


@pytest.mark.parametrize(
    ("status", "newest", "goes_on"), [("COMPLETED", "5-0", False), ("COMPLETED", "9-0", True), ("RUNNING", "5-0", True)]
)
def test_whoever_has_seen_the_end_waits_for_nothing(status: str, newest: str, goes_on: bool) -> None:
    ended = run()
    ended.status = RunStatus.COMPLETED
    steps = reading(ended, after="5-0")
    assert next(steps) == Lookup(("HMGET", keys.run(ended.run_id), "status"))
    try:
        asked = steps.send([status])
        if asked == Lookup(("XREVRANGE", OWN, "+", "-", "COUNT", 1)):
            asked = steps.send([(newest, {})])
    except StopIteration:
        asked = None
    assert isinstance(asked, NextEntries) is goes_on
