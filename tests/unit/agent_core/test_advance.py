"""`Agent.advance`: what a driver that writes to a journal can rely on, crashes included."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent_core.agent import Agent
from agent_core.drive import StoreJournal
from agent_core.errors import InvalidAnswerError, ModelError, RunAlreadyContinuedError, StaleRunError
from agent_core.events import RunError, RunEvent
from agent_core.models.scripted import ScriptedModel, Turn, call
from agent_core.run import RunSnapshot, RunStatus
from agent_core.store import InMemoryRunStore
from agent_core.tools import Function, tool
from agent_core.tools.execution import CallAnswer, CallOutcome, CallResult, Confirmation, ToolExecution, UserInput

done: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@tool(external_execution=True, pool="shell")
def shell(command: str) -> str:
    """Run a command."""
    return command


@tool
def note(text: str) -> str:
    """Take a note."""
    done.append(text)
    return f"noted {text}"


@tool(on_lost="retry")
def look(text: str) -> str:
    """Look something up."""
    done.append(text)
    return f"found {text}"


@tool(requires_confirmation=True)
def send(text: str) -> str:
    """Send a text."""
    done.append(text)
    return f"sent {text}"


@dataclass(frozen=True, kw_only=True)
class Recorder(StoreJournal):
    """Keeps what was saved, and dies before a chosen save if told to."""

    dies_at: int = 0
    saves: list[tuple[str, str, int, list[str], list[str]]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def save(
        self, snapshot: RunSnapshot, dispatch: Sequence[ToolExecution] = (), events: Sequence[RunEvent] = ()
    ) -> RunSnapshot:
        handed_out = [entry.tool_name for entry in dispatch]
        self.saves.append((str(snapshot.status), snapshot.phase, snapshot.step, handed_out, list(done)))
        self.told.extend(event.event for event in events)
        if len(self.saves) == self.dies_at:
            raise KeyboardInterrupt
        return super().save(snapshot, dispatch, events)


class Walk:
    """One run, carried on stretch by stretch from the store alone."""

    def __init__(self, *turns: Turn, tools: Sequence[Function] = (shell, note, look, send), **settings: Any) -> None:
        self.agent = Agent(model=ScriptedModel(turns), tools=tools, **settings)
        self.store = InMemoryRunStore()
        self.run_id = self.store.save(RunSnapshot.create(agent_name="agent", input="go"), expected_version=0).run_id

    def on(self, answers: Mapping[str, CallAnswer] | None = None, *, dies_at: int = 0) -> Recorder:
        journal = Recorder(store=self.store, dies_at=dies_at)
        events = self.agent.advance(self.snapshot, answers=answers or {}, journal=journal)
        if dies_at:
            with pytest.raises(KeyboardInterrupt):
                list(events)
        else:
            self.events = [event.event for event in events]
        return journal

    @property
    def snapshot(self) -> RunSnapshot:
        snapshot = self.store.load(self.run_id)
        assert snapshot is not None
        return snapshot

    @property
    def texts(self) -> list[str | None]:
        return [message.content for message in self.snapshot.output.messages if message.role == "tool"]


def test_external_calls_are_handed_out_before_the_inline_ones_run() -> None:
    walk = Walk([call("note", text="a"), call("shell", call_id="s", command="ls")], "done")

    journal = walk.on()

    assert journal.saves == [
        ("RUNNING", "model", 1, [], []),
        ("RUNNING", "tools", 1, ["shell"], []),
        ("PAUSED", "tools", 1, [], ["a"]),
    ]
    assert [(entry.tool_call_id, entry.pool, entry.step) for entry in walk.snapshot.pending] == [("s", "shell", 1)]
    assert walk.events == ["RunStarted", "ToolCallStarted", "ToolCallStarted", "ToolCallCompleted", "RunPaused"]
    assert journal.told == ["RunStarted", "ToolCallStarted", "ToolCallStarted", "RunPaused"]


def test_a_batch_of_external_calls_alone_is_one_save() -> None:
    walk = Walk([call("shell", command="ls"), call("shell", command="pwd")], "done")

    assert walk.on().saves[1:] == [("PAUSED", "tools", 1, ["shell", "shell"], [])]


def test_the_answers_carry_the_run_to_its_end() -> None:
    walk = Walk(call("shell", call_id="s", command="ls"), "done")
    walk.on()

    journal = walk.on({"s": CallResult(content="files")})

    assert [save[:3] for save in journal.saves] == [("RUNNING", "model", 2), ("COMPLETED", "model", 2)]
    assert walk.events == ["RunContinued", "ToolCallCompleted", "RunContent", "RunCompleted"]
    assert (walk.texts, walk.snapshot.output.content) == (["files"], "done")


@pytest.mark.parametrize("outcome", [outcome for outcome in CallOutcome if outcome is not CallOutcome.SUCCEEDED])
def test_every_bad_outcome_reaches_the_model(outcome: CallOutcome) -> None:
    walk = Walk([call("shell", call_id="s", command="ls"), call("send", call_id="c", text="x")], "done")
    walk.on()

    walk.on({call_id: CallResult(outcome=outcome, content="why") for call_id in ("s", "c")})

    assert walk.texts == [f"[{outcome}] why"] * 2
    assert [message.tool_call_error for message in walk.snapshot.output.messages if message.role == "tool"] == [
        True
    ] * 2
    assert walk.snapshot.status is RunStatus.COMPLETED and done == []


def test_a_model_error_is_a_saved_error_and_a_retry_needs_no_result_again() -> None:
    walk = Walk(call("shell", call_id="s", command="ls"), ModelError("down"), "done")
    walk.on()
    walk.on({"s": CallResult(content="files")})
    assert (walk.snapshot.status, walk.snapshot.phase, walk.snapshot.output.error) == ("ERROR", "model", "down")
    assert walk.events[-1] == "RunError"

    walk.on()

    assert (walk.snapshot.status, walk.texts) == ("COMPLETED", ["files"])


def test_a_model_that_raises_anything_is_a_model_error() -> None:
    walk = Walk(OSError("no route"))
    events = list(walk.agent.advance(walk.snapshot, answers={}, journal=StoreJournal(walk.store)))

    assert isinstance(events[-1], RunError) and "OSError: no route" in str(events[-1].cause)


def test_a_retryable_model_error_is_tried_again() -> None:
    walk = Walk(ModelError("busy", retryable=True), ModelError("busy", retryable=True), "done", retries=2,
                retry_delay_seconds=0)  # fmt: skip
    walk.on()
    assert walk.snapshot.output.content == "done"

    final = Walk(ModelError("wrong key"), "done", retries=2, retry_delay_seconds=0)
    final.on()
    assert final.snapshot.status is RunStatus.ERROR


def test_inline_calls_of_a_dead_worker_are_lost_unless_they_may_be_repeated() -> None:
    walk = Walk([call("note", text="a"), call("look", text="b")], "done")
    walk.on(dies_at=3)
    assert done == ["a", "b"]

    walk.on()

    assert done == ["a", "b", "b"]
    assert walk.texts == [
        "[lost] The process that executed this call died. Whether the call took effect is unknown.",
        "found b",
    ]
    assert walk.snapshot.output.tools[0].outcome is CallOutcome.LOST


def test_a_worker_that_dies_in_a_mixed_batch_leaves_the_external_call_waiting() -> None:
    walk = Walk([call("note", text="a"), call("shell", call_id="s", command="ls")], "done")
    walk.on(dies_at=3)

    assert walk.on().saves == [("PAUSED", "tools", 1, [], ["a"])]
    walk.on({"s": CallResult(content="files")})
    assert [text and text.split("]")[0] for text in walk.texts] == ["[lost", "files"]


def test_an_answer_that_came_while_the_worker_was_dying_is_taken() -> None:
    walk = Walk([call("look", text="a"), call("send", call_id="c", text="b")], "done")
    walk.on(dies_at=3)

    walk.on({"c": Confirmation(confirmed=True)})

    assert walk.texts == ["found a", "sent b"]


def test_a_confirmed_call_of_a_dead_worker_is_lost_not_repeated() -> None:
    walk = Walk(call("send", call_id="c", text="b"), "done")
    walk.on()
    walk.on({"c": Confirmation(confirmed=True)}, dies_at=2)
    assert done == ["b"]

    walk.on()

    assert done == ["b"] and walk.snapshot.output.tools[0].outcome is CallOutcome.LOST


def test_a_worker_that_dies_before_the_model_replied_costs_nothing() -> None:
    walk = Walk(call("shell", call_id="s", command="ls"), "done")
    walk.on(dies_at=2)

    walk.on()

    assert [entry.tool_call_id for entry in walk.snapshot.pending] == ["s"]


def test_only_part_of_the_answers_keeps_the_run_paused() -> None:
    walk = Walk([call("send", call_id="c", text="b"), call("shell", call_id="s", command="ls")], "done")
    walk.on()

    walk.on({"c": Confirmation(confirmed=True)})
    assert walk.snapshot.status is RunStatus.PAUSED and done == []

    walk.on({"s": CallResult(content="files")})
    assert walk.texts == ["sent b", "files"]


def test_an_answer_of_the_wrong_kind_changes_nothing() -> None:
    walk = Walk([call("shell", call_id="s", command="ls"), call("send", call_id="c", text="b")], "done")
    walk.on()
    before = walk.snapshot

    for wrong in (Confirmation(confirmed=True), UserInput(values={})):
        with pytest.raises(InvalidAnswerError, match="'shell'"):
            walk.on({"c": Confirmation(confirmed=True), "s": wrong})

    assert walk.snapshot == before


def test_an_expired_run_hands_its_calls_out_again() -> None:
    walk = Walk(call("shell", call_id="s", command="ls"), "done")
    walk.on()
    expired = walk.snapshot
    expired.output.status = RunStatus.ERROR
    walk.store.save(expired, expected_version=expired.version)

    assert walk.on().saves == [("PAUSED", "tools", 1, ["shell"], [])]


def test_somebody_else_having_the_run_is_passed_on() -> None:
    walk = Walk("done")
    first = walk.snapshot
    walk.on()

    with pytest.raises(StaleRunError):
        list(walk.agent.advance(first, answers={}, journal=StoreJournal(walk.store)))
    with pytest.raises(RunAlreadyContinuedError):
        walk.on()


def test_a_requested_cancel_is_heeded_before_the_next_step() -> None:
    store: list[InMemoryRunStore] = []

    @tool
    def stop(run_context: Any) -> str:
        """Ask for the end."""
        store[0].request_cancel(run_context.run_id)
        return "asked"

    walk = Walk([call("stop"), call("shell", command="ls")], "never", tools=[stop, shell])
    store.append(walk.store)

    walk.on()

    assert walk.snapshot.status is RunStatus.CANCELLED and walk.events[-1] == "RunCancelled"
    assert [entry.outcome for entry in walk.snapshot.output.tools] == [CallOutcome.SUCCEEDED, CallOutcome.CANCELLED]
    assert not walk.store.cancel_requested(walk.run_id)


def test_a_tool_that_is_gone_after_a_release_is_a_tool_error() -> None:
    walk = Walk([call("send", call_id="c", text="b"), call("shell", call_id="s", command="ls")], "done")
    walk.on()
    walk.agent = Agent(model=walk.agent.model, tools=[note])

    walk.on({"c": Confirmation(confirmed=True), "s": CallResult(content="files")})

    assert walk.texts == ["[failed] The agent has no tool 'send' any more.", "files"]
