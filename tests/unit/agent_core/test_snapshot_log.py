"""Snapshots in two pieces: whatever a run grows by, they are the same run again, and little is written twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import SnapshotSchemaError
from agent_core.messages import Message
from agent_core.run import RunSnapshot
from agent_core.snapshot_log import HEAD_BYTES, join, split
from agent_core.tools.execution import CallResult, ToolExecution


class Store:
    """Keeps what `split` gives as a store does: the last head, and every part of the log."""

    def __init__(self) -> None:
        self.head = ""
        self.log: list[str] = []

    def save(self, snapshot: RunSnapshot) -> int:
        """Store it; returns how many characters that took."""
        stored = split(snapshot)
        self.head = stored.head
        parts, _, part = stored.log.partition(" ")
        self.log = [*self.log[: int(parts) - bool(part)], *([part] if part else [])]
        snapshot.logged = stored.logged
        return len(stored.head) + len(part)

    def load(self) -> RunSnapshot:
        return join(self.head, list(self.log))


def new_run(input: str = "hello") -> RunSnapshot:
    snapshot = RunSnapshot.create(agent_name="ops", input=input)
    snapshot.output.messages = [Message(role="user", content=input)]
    snapshot.step = 1
    return snapshot


def take_step(snapshot: RunSnapshot, text: str, *, shows: bool = False) -> None:
    """A model's call of a tool, and its answer: what a step adds."""
    name = f"call_{snapshot.step}"
    call = ToolExecution(tool_call_id=name, tool_name="look_up", step=snapshot.step, external_execution_required=True)
    snapshot.output.tools.append(call)
    snapshot.output.messages.append(Message(role="assistant", content=text))
    call.settle(CallResult(content=text))
    snapshot.output.messages.append(Message(role="tool", content=text, tool_call_id=name))
    if shows:
        snapshot.shown.append(text)
    snapshot.step += 1


@given(
    input=st.text(max_size=20) | st.just("long " * 2000),
    steps=st.lists(
        st.tuples(st.sampled_from(["", "short", "some text " * 40, "a page " * 900]), st.booleans(), st.booleans()),
        max_size=25,
    ),
)
def test_head_and_log_are_the_run_again(input: str, steps: list[tuple[str, bool, bool]]) -> None:
    store, snapshot = Store(), new_run(input)
    store.save(snapshot)
    for text, shows, is_read_again in steps:
        take_step(snapshot, text, shows=shows)
        store.save(snapshot)
        again = store.load()
        assert again == snapshot
        if is_read_again:
            snapshot = again


def test_a_short_run_has_no_log() -> None:
    store, snapshot = Store(), new_run()
    take_step(snapshot, "short")
    store.save(snapshot)
    assert store.log == [] and store.head == snapshot.to_json()
    assert RunSnapshot.from_json(store.head) == snapshot


@pytest.mark.parametrize("input", ["hello", "long " * 20_000])
def test_a_step_of_a_long_run_costs_what_it_adds(input: str) -> None:
    store, snapshot = Store(), new_run(input)
    store.save(snapshot)
    before, text = len(snapshot.to_json()), "some text " * 30
    costs = []
    for _ in range(200):
        take_step(snapshot, text)
        costs.append(store.save(snapshot))
    grown = (len(snapshot.to_json()) - before) / 200
    # A save writes its head anew, which may have this length and no more, and besides only what is new.
    assert max(costs[:100]) <= max(HEAD_BYTES, before) + 2 * grown + 200
    assert max(costs[100:]) <= HEAD_BYTES + 2 * grown + 200
    assert sum(map(len, store.log)) <= 1.1 * len(snapshot.to_json())


def test_the_same_snapshot_is_written_the_same_way_until_it_is_stored() -> None:
    snapshot = new_run("long " * 2000)
    assert split(snapshot) == split(snapshot)
    assert split(snapshot).log.startswith("1 {") and snapshot.logged is None


def test_the_call_under_way_is_never_in_the_log() -> None:
    store, snapshot = Store(), new_run()
    for _ in range(3):
        take_step(snapshot, "a page " * 900)
    snapshot.step -= 1
    store.save(snapshot)
    logged = [call["tool_call_id"] for part in store.log for call in json.loads(part).get("tools", [])]
    assert logged == ["call_1", "call_2"]
    assert [call.tool_call_id for call in store.load().calls] == ["call_3"]


def test_a_run_that_was_read_from_a_log_can_be_written_whole() -> None:
    store, snapshot = Store(), new_run("long " * 2000)
    store.save(snapshot)
    again = RunSnapshot.from_json(store.load().to_json())
    assert again == snapshot.model_copy(update={"logged": None})


def spoil_head(store: Store) -> None:
    store.head = json.dumps({**json.loads(store.head), "logged": {"parts": 0}})
    store.log.clear()


def long_run() -> Store:
    store, snapshot = Store(), new_run("long " * 2000)
    for _ in range(3):
        take_step(snapshot, "a page " * 900)
        store.save(snapshot)
    assert len(store.log) == 3
    return store


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda store: store.log.pop(), "goes on from 3 parts of a log, and 2 are at hand"),
        (lambda store: store.log.append("{}"), "goes on from 3 parts of a log, and 4 are at hand"),
        (lambda store: store.log.__setitem__(1, None), "part of this run's log is missing"),
        (lambda store: store.log.__setitem__(1, "nothing"), "no part of a run's log"),
        (lambda store: store.log.__setitem__(1, "{}"), "its snapshot begins after"),
        (spoil_head, "its snapshot begins after"),
    ],
)
def test_a_log_that_does_not_fit_its_head_is_refused(spoil: Any, words: str) -> None:
    store = long_run()
    spoil(store)
    with pytest.raises(SnapshotSchemaError, match=words):
        store.load()


def test_a_head_alone_is_never_taken_for_the_whole() -> None:
    store = long_run()
    with pytest.raises(SnapshotSchemaError, match="goes on from 3 parts"):
        RunSnapshot.from_json(store.head)
    # A release that knows no log knows schema 1 alone, and says that it must be upgraded.
    assert json.loads(store.head)["schema"] != 1
