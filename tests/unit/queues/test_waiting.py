"""Waiting for a run, without a server: the generator is sent replies by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from agent_core.errors import RunNotFoundError
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from queues import keys
from queues.errors import WaitTimeoutError
from queues.replies import Entry
from queues.requests import Lookup, NextEntries, Request
from queues.run_handle import Until
from queues.waiting import awaited

EVENTS = keys.events("run_1")
PEOPLE = json.dumps([{"key": keys.people("run_1", 1), "calls": ["a"]}])
POOL = json.dumps([{"key": keys.part("shell", "run_1", 1), "calls": ["a"]}])


def entry(entry_id: str, name: str) -> Entry:
    return entry_id, {"event": json.dumps({"event": name, "content": "a"})}


class Waiting:
    """Drives a wait by hand, up to the next request, which is then at `asked`; `found` is what it returned."""

    def __init__(self, until: Until = "finished") -> None:
        self._steps = awaited("run_1", until=until, timeout=5)
        self.found: RunOutput | None = None
        self.asked: Request = next(self._steps)

    def send(self, reply: object) -> None:
        try:
            self.asked = self._steps.send(reply)
        except StopIteration as end:
            self.found = end.value

    def sees(self, status: str | None, *, version: str | None = "2", waiting: str | None = None) -> None:
        """Answer a look at the run."""
        assert isinstance(self.asked, Lookup) and self.asked.words[:2] == ("HMGET", keys.run("run_1")), self.asked
        stored = RunSnapshot.create(agent_name="ops", input="hello", run_id="run_1").to_json() if status else None
        hash_ = {"waiting": waiting, "snapshot": stored, "version": version, "status": status}
        self.send([hash_.get(str(name)) for name in self.asked.words[2:]])

    def hears(self, *entries: Entry) -> None:
        """Answer a read of the run's events."""
        assert isinstance(self.asked, NextEntries), self.asked
        self.send([[EVENTS, entries]] if entries else None)

    def is_late(self) -> None:
        """Let the time be up."""
        self.asked = self._steps.throw(TimeoutError())

    @property
    def place(self) -> str:
        """After which event it goes on to read."""
        assert isinstance(self.asked, NextEntries), self.asked
        return self.asked.after[EVENTS]


def test_the_events_of_a_run_that_was_never_saved_are_read_from_the_first_on() -> None:
    waiting = Waiting()
    waiting.sees("PENDING", version="1")
    assert waiting.place == "0-0"
    waiting.hears(entry("1-0", "RunStarted"), entry("2-0", "RunPaused"))
    assert waiting.place == "2-0"
    waiting.hears(entry("3-0", "RunCompleted"))
    waiting.sees("COMPLETED")
    assert waiting.found is not None and waiting.found.status is RunStatus.COMPLETED


@pytest.mark.parametrize(("newest", "place"), [([entry("7-1", "RunPaused")], "7-1"), ([], "0-0")])
def test_of_others_the_place_is_taken_before_another_look(newest: Sequence[Entry], place: str) -> None:
    waiting = Waiting()
    waiting.sees("PAUSED")
    assert isinstance(waiting.asked, Lookup) and waiting.asked.words[:2] == ("XREVRANGE", EVENTS)
    waiting.send(newest)
    waiting.sees("RUNNING")
    assert waiting.place == place


def test_an_end_that_came_before_the_place_was_taken_is_seen() -> None:
    waiting = Waiting()
    waiting.sees("PAUSED")
    waiting.send([entry("7-1", "RunCompleted")])
    waiting.sees("COMPLETED")
    assert waiting.found is not None


def test_a_run_that_has_ended_already_is_one_look() -> None:
    waiting = Waiting()
    waiting.sees("ERROR", version="9")
    assert waiting.found is not None and waiting.found.status is RunStatus.ERROR


@pytest.mark.parametrize("end", ["RunCompleted", "RunCancelled", "RunError"])
def test_each_end_is_looked_at(end: str) -> None:
    waiting = Waiting()
    waiting.sees("PENDING", version="1")
    waiting.hears(entry("1-0", end))
    assert isinstance(waiting.asked, Lookup)


def test_an_end_that_a_retry_undid_is_passed_over() -> None:
    waiting = Waiting()
    waiting.sees("PENDING", version="1")
    waiting.hears(entry("1-0", "RunError"), entry("2-0", "RunContinued"))
    waiting.sees("RUNNING")
    assert waiting.place == "2-0" and waiting.found is None


@pytest.mark.parametrize(
    "stored", ["no JSON", "[]", "7", "{}", '{"event": []}', '{"event": "Tomorrow"}', "[" * 100_000]
)
def test_events_that_this_release_does_not_know_are_passed_over(stored: str) -> None:
    waiting = Waiting()
    waiting.sees("PENDING", version="1")
    waiting.hears(("1-0", {"event": stored}))
    assert waiting.place == "1-0"


def test_whoever_waits_for_people_looks_at_a_pause() -> None:
    waiting = Waiting(until="paused")
    waiting.sees("PENDING", version="1")
    waiting.hears(entry("1-0", "RunPaused"))
    waiting.sees("PAUSED", waiting=POOL)
    assert waiting.place == "1-0"
    waiting.hears(entry("2-0", "RunPaused"))
    waiting.sees("PAUSED", waiting=PEOPLE)
    waiting.send(['"answer"'])
    assert waiting.place == "2-0"
    waiting.hears(entry("3-0", "RunPaused"))
    waiting.sees("PAUSED", waiting=PEOPLE)
    waiting.send([None])
    assert waiting.found is not None and waiting.found.is_paused


def test_a_server_that_is_away_is_waited_for_from_the_second_look_on() -> None:
    waiting = Waiting()
    assert waiting.asked.at_once
    waiting.sees("PENDING", version="1")
    assert not waiting.asked.at_once
    waiting.hears(entry("1-0", "RunError"))
    assert not waiting.asked.at_once


def test_a_run_that_is_gone_is_named() -> None:
    with pytest.raises(RunNotFoundError, match="run_1"):
        Waiting().sees(None, version=None)
    waiting = Waiting()
    waiting.sees("PENDING", version="1")
    waiting.hears(entry("1-0", "RunCompleted"))
    with pytest.raises(RunNotFoundError, match="run_1"):
        waiting.sees(None, version=None)


def test_when_the_time_is_up_the_run_is_looked_at_once_more() -> None:
    waiting = Waiting()
    waiting.sees("PENDING", version="1")
    waiting.is_late()
    with pytest.raises(WaitTimeoutError, match="run_1 is still RUNNING after 5 s"):
        waiting.sees("RUNNING")


def test_an_end_at_the_last_moment_counts() -> None:
    waiting = Waiting()
    waiting.sees("PENDING", version="1")
    waiting.is_late()
    waiting.sees("COMPLETED")
    assert waiting.found is not None
