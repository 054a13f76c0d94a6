"""What `RunContinued` says of the text that was told before it."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from agent_core.agent import Agent
from agent_core.errors import ModelError
from agent_core.events import RunContent, RunContinued, RunEvent
from agent_core.models.base import ModelReply, ModelRequest
from agent_core.models.scripted import ScriptedModel, call
from agent_core.run import RunSnapshot, RunStatus
from agent_core.store import InMemoryRunStore
from agent_core.tools import tool


@tool(external_execution=True)
def look(folder: str) -> str:
    """Look into a folder."""
    raise NotImplementedError


def continued(agent: Agent, **settings: object) -> RunContinued:
    """The event with which the run goes on."""
    events = agent.continue_run(run_id="r", stream=True, stream_events=True, **settings)  # type: ignore[call-overload]
    return next(event for event in events if isinstance(event, RunContinued))


def test_the_words_before_a_pause_stand() -> None:
    agent = Agent(model=ScriptedModel([call("look", folder="/"), "done"]), tools=[look])
    (asked,) = agent.run("go", run_id="r").tools
    asked.result = "empty"
    event = continued(agent, updated_tools=[asked])
    assert event.step == 1 and not event.voids_text
    assert "voids_text" not in event.model_dump(exclude_defaults=True)


def test_the_words_before_an_error_are_void() -> None:
    agent = Agent(model=ScriptedModel([ModelError("broke"), "done"]))
    with pytest.raises(ModelError):
        agent.run("go", run_id="r")
    event = continued(agent)
    assert event.step == 1 and event.voids_text


def test_the_words_of_a_process_that_died_are_void_unless_they_were_saved() -> None:
    store = InMemoryRunStore()
    agent = Agent(model=ScriptedModel([call("look", folder="/"), "done"]), tools=[look], db=store)
    snapshot = RunSnapshot.create(agent_name=agent.name, input="go", run_id="r")
    snapshot.step, snapshot.output.status = 1, RunStatus.RUNNING
    for phase, is_void in (("model", True), ("tools", False)):
        snapshot.phase = phase  # type: ignore[assignment]
        stood = snapshot.model_copy(deep=True)
        if phase == "tools":
            stood.output.tools = list(agent.run("go").tools)
        events = list(agent.advance(stood, answers={}, journal=_Journal()))
        assert [event.voids_text for event in events if isinstance(event, RunContinued)] == [is_void]


class _Breaking(ScriptedModel):
    """Breaks off after its first words, so often; then it answers."""

    def __init__(self, *, times: int, retryable: bool = True) -> None:
        super().__init__(["once upon a time"])
        self.left, self.retryable = times, retryable

    def stream(self, request: ModelRequest) -> Generator[str | ModelReply, None, None]:
        if self.left:
            self.left -= 1
            yield "once "
            raise ModelError("the connection broke", retryable=self.retryable)
        yield from super().stream(request)


def advanced(model: _Breaking) -> list[RunEvent]:
    """What the readers of a run on the queue are told."""
    agent = Agent(model=model, retry_delay_seconds=0)
    snapshot = RunSnapshot.create(agent_name=agent.name, input="go")
    return list(agent.advance(snapshot, answers={}, journal=_Journal(), stream=True))


def standing_text(events: list[RunEvent]) -> str:
    """The text that a reader shows who heeds `voids_text`."""
    text = ""
    for event in events:
        if isinstance(event, RunContinued) and event.voids_text:
            text = ""
        elif isinstance(event, RunContent):
            text += str(event.content)
    return text


@pytest.mark.parametrize("times", [1, 2])
def test_a_reply_that_breaks_off_is_asked_for_again_and_its_words_are_void(times: int) -> None:
    events = advanced(_Breaking(times=times))
    assert events[-1].event == "RunCompleted" and events[-1].content == "once upon a time"
    assert standing_text(events) == "once upon a time"
    assert sum(isinstance(event, RunContinued) for event in events) == times


@pytest.mark.parametrize("model", [_Breaking(times=3), _Breaking(times=1, retryable=False)])
def test_it_is_not_asked_for_for_ever(model: _Breaking) -> None:
    events = advanced(model)
    assert events[-1].event == "RunError" and model.left == 0


def test_a_caller_in_process_is_told_no_text_twice() -> None:
    told = []
    with pytest.raises(ModelError, match="broke"):
        for event in Agent(model=_Breaking(times=1)).run("go", stream=True):
            told.append(event)
    assert [event.content for event in told if isinstance(event, RunContent)] == ["once "]


class _Journal:
    """Keeps nothing."""

    def save(self, snapshot: RunSnapshot, dispatch: object = (), events: object = ()) -> RunSnapshot:
        return snapshot

    def history(self, session_id: str, *, limit: int) -> list[RunSnapshot]:
        return []

    def is_cancelled(self, run_id: str) -> bool:
        return False
