"""The timeline that events are folded into: recorded events of real runs, and what a retry or a lost stream leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent_core.events import (
    RunCancelled,
    RunCompleted,
    RunContent,
    RunContinued,
    RunError,
    RunEvent,
    RunPaused,
    RunStarted,
    ToolCallAnswered,
    ToolCallCompleted,
    ToolCallError,
    ToolCallExecuting,
    ToolCallStarted,
)
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import ToolExecution
from tests.support.recordings import recorded_events, recorded_output
from workers.timeline import folding
from workers.timeline.folding import timeline_of
from workers.timeline.values import Call, Pause, Timeline, Turn

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def recorded(name: str) -> Timeline:
    return timeline_of(recorded_events(name), recorded_output(name))


def at(kind: type[RunEvent], seconds: float, step: int = 1, **values: object) -> RunEvent:
    known = {"run_id": "run_1", "agent_name": "ops", "step": step, "created_at": BEGIN + timedelta(seconds=seconds)}
    return kind.model_validate({**known, **values})


def call(tool_call_id: str = "c1", step: int = 1, **values: object) -> ToolExecution:
    known = {"tool_call_id": tool_call_id, "tool_name": "add", "tool_args": {"a": 5}, "step": step, "created_at": BEGIN}
    return ToolExecution.model_validate({**known, **values})


def folded(
    *events: RunEvent, status: RunStatus = RunStatus.COMPLETED, tools: tuple[ToolExecution, ...] = ()
) -> Timeline:
    output = RunOutput(run_id="run_1", agent_name="ops", status=status, tools=list(tools))
    return timeline_of(events, output)


def turns(timeline: Timeline) -> list[tuple[int, float | None, float | None, str | None]]:
    """Each turn's step, when it began and ended in seconds since the beginning, and its end."""
    return [
        (turn.step, since(turn.began_at), since(turn.ended_at), turn.end)
        for step in timeline.steps
        for turn in step.entries
        if isinstance(turn, Turn)
    ]


def since(moment: datetime | None) -> float | None:
    return None if moment is None else (moment - BEGIN).total_seconds()


def calls(timeline: Timeline) -> dict[str, Call]:
    return {call.tool_name: call for step in timeline.steps for call in step.calls}


def test_two_pools_of_one_step() -> None:
    timeline = recorded("two_pools")
    first, second = timeline.steps
    assert [type(entry) for entry in first.entries] == [Turn, Call, Call, Pause]
    assert [type(entry) for entry in second.entries] == [Turn]
    asked, answered = first.entries[0], second.entries[0]
    assert isinstance(asked, Turn) and isinstance(answered, Turn)
    assert (asked.end, answered.end) == ("asked for calls", "answered")
    assert asked.began_at == timeline.started_at and answered.ended_at == timeline.ended_at
    found = calls(timeline)
    assert {name: call.pool for name, call in found.items()} == {"add": "python", "count_lines": "shell"}
    (attempt,) = found["count_lines"].attempts
    assert (attempt.worker, attempt.sandbox_level, attempt.queued_seconds) == ("shell@host:2", "ns", 0.02)
    assert attempt.executed_seconds == pytest.approx(0.306, abs=0.001)
    assert found["count_lines"].settled_at == attempt.ended_at
    (pause,) = timeline.pauses
    assert pause.ended_at == answered.began_at, "the model is asked once the last result was taken in"


def test_what_a_tool_writes_is_counted_and_no_entry() -> None:
    (attempt,) = calls(recorded("two_pools"))["count_lines"].attempts
    assert attempt.output_characters == len("counting…\ndone\n")


def test_each_attempt_of_a_retried_call_has_its_own_times_and_outcome() -> None:
    flaky = calls(recorded("retries"))["flaky"]
    assert [(one.number, one.outcome) for one in flaky.attempts] == [(1, "failed"), (2, "failed"), (3, "failed")]
    assert all(one.began_at and one.ended_at and one.executed_seconds for one in flaky.attempts)
    assert flaky.outcome == "failed" and flaky.settled_at == flaky.attempts[-1].ended_at


def test_an_attempt_whose_worker_died_is_lost() -> None:
    flaky = calls(recorded("lost_worker"))["flaky"]
    assert [one.outcome for one in flaky.attempts] == ["lost", "succeeded"]
    assert flaky.attempts[0].worker != flaky.attempts[1].worker
    assert flaky.attempts[0].ended_at is None, "nobody knows when it died"
    assert flaky.outcome == "succeeded"


def test_a_turn_whose_worker_died_is_void_and_told_anew_in_the_same_step() -> None:
    events, (step,) = recorded_events("takeover"), recorded("takeover").steps
    void, whole = step.entries
    assert isinstance(void, Turn) and isinstance(whole, Turn)
    assert (void.end, whole.end) == ("void", "answered")
    assert whole.began_at == void.ended_at
    text = str(events[-1].content)
    assert (void.characters, whole.characters) == (text.index("then once"), len(text))
    assert sum(isinstance(event, RunContent) for event in events) > 2, "many pieces of text are one turn"


def test_people_sign_what_they_answer() -> None:
    found = calls(recorded("people"))
    remove, ask = found["remove"].answer, found["ask"].answer
    assert remove is not None and ask is not None
    assert (remove.decision, remove.by, remove.note, remove.changed_arguments) == ("approved", "ada", "fine", True)
    assert (ask.decision, ask.by) == ("answered", "bob")
    assert [one.outcome for one in found["remove"].attempts] == ["succeeded"]
    assert found["ask"].attempts == []
    assert found["greet"].pool is None and found["greet"].attempts[0].ended_at is not None


def test_a_run_that_waits_is_paused_and_asks_no_model() -> None:
    timeline = recorded("waiting")
    assert [turn[-1] for turn in turns(timeline)] == ["asked for calls"]
    assert [pause.ended_at for pause in timeline.pauses] == [None]
    assert timeline.ended_at is None
    remove, ask = calls(timeline)["remove"], calls(timeline)["ask"]
    assert remove.answer is not None and (remove.answer.decision, remove.answer.note) == ("denied", "never")
    assert (ask.outcome, ask.settled_at) == (None, None)


def test_the_end_of_a_run_ends_its_pause_and_the_records_say_what_became_of_calls() -> None:
    timeline = recorded("cancelled")
    (pause,) = timeline.pauses
    assert pause.ended_at == timeline.ended_at is not None
    assert calls(timeline)["ask"].outcome == "cancelled"


@pytest.mark.parametrize("name", ["two_pools", "retries", "takeover", "lost_worker", "people", "waiting", "cancelled"])
def test_every_prefix_of_a_story_can_be_folded(name: str) -> None:
    events, output = recorded_events(name), recorded_output(name)
    output.status = RunStatus.RUNNING
    for length in range(len(events) + 1):
        steps = [step.step for step in timeline_of(events[:length], output).steps]
        assert steps == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("name", ["two_pools", "retries", "lost_worker", "people"])
def test_without_events_the_records_still_tell_where_calls_were_executed(name: str) -> None:
    timeline = timeline_of([], recorded_output(name))
    assert (timeline.started_at, timeline.ended_at, timeline.pauses) == (None, None, [])
    told = recorded(name)
    for tool_name, known in calls(timeline).items():
        before = calls(told)[tool_name]
        assert (known.pool, known.outcome) == (before.pool, before.outcome)
        assert (known.answer and known.answer.by) == (before.answer and before.answer.by)
        # Of earlier attempts no record is kept.
        kept, last = known.attempts[-1:], before.attempts[-1:]
        assert [one.model_dump(include={"number", "worker", "executed_seconds"}) for one in kept] == [
            one.model_dump(include={"number", "worker", "executed_seconds"}) for one in last
        ]


def test_a_stream_that_was_cut_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MOST_EVENTS", 4)
    timeline = recorded("two_pools")
    assert timeline.is_cut and calls(timeline)["add"].outcome == "succeeded"
    monkeypatch.setattr(folding, "MOST_EVENTS", len(recorded_events("two_pools")))
    assert not recorded("two_pools").is_cut


def test_a_turn_under_way_is_told_of_running_runs_only() -> None:
    done = call(outcome="succeeded")
    events = [at(RunStarted, 0), at(ToolCallStarted, 1, tool=call()), at(ToolCallCompleted, 2, tool=done)]
    assert turns(folded(*events, status=RunStatus.RUNNING)) == [(1, 0, 1, "asked for calls"), (2, 2, None, None)]
    assert turns(folded(*events, status=RunStatus.PENDING)) == [(1, 0, 1, "asked for calls")]
    assert turns(folded(at(RunStarted, 0), status=RunStatus.RUNNING)) == [(1, 0, None, None)]


def test_a_model_that_fails_and_is_asked_again_has_two_turns() -> None:
    timeline = folded(
        at(RunStarted, 0), at(RunError, 2), at(RunContinued, 10, voids_text=True), at(RunCompleted, 11, content="done")
    )
    assert turns(timeline) == [(1, 0, 2, "failed"), (1, 10, 11, "answered")]
    assert since(timeline.ended_at) == 11


def test_calls_that_are_refused_at_once_begin_no_turn_between_them() -> None:
    refused = call(outcome="failed", tool_call_error=True)
    timeline = folded(
        at(RunStarted, 0),
        at(ToolCallStarted, 1, tool=call()),
        at(ToolCallError, 1, tool=refused),
        at(ToolCallStarted, 1, tool=call("c2")),
        at(ToolCallCompleted, 3, tool=call("c2", outcome="succeeded")),
        at(RunCompleted, 4, 2),
    )
    assert turns(timeline) == [(1, 0, 1, "asked for calls"), (2, 3, 4, "answered")]


def test_a_tool_that_ends_the_run_is_followed_by_no_turn() -> None:
    done = call(outcome="succeeded")
    timeline = folded(
        at(RunStarted, 0),
        at(ToolCallStarted, 1, tool=call()),
        at(ToolCallCompleted, 2, tool=done),
        at(RunContent, 2, content="shown\n\n"),
        at(RunCompleted, 2),
    )
    assert turns(timeline) == [(1, 0, 1, "asked for calls")]


def test_a_reply_that_did_not_fit_is_followed_by_another_turn() -> None:
    timeline = folded(
        at(RunStarted, 0),
        at(RunContent, 1, content="no JSON"),
        at(RunContent, 3, 2, content="{}"),
        at(RunCompleted, 4, 2),
    )
    assert turns(timeline) == [(1, 0, 3, "answered"), (2, 3, 4, "answered")]


def test_the_same_id_in_another_step_is_another_call() -> None:
    timeline = folded(
        at(RunStarted, 0),
        at(ToolCallStarted, 1, tool=call()),
        at(ToolCallCompleted, 2, tool=call(outcome="succeeded")),
        at(ToolCallStarted, 3, 2, tool=call(step=2)),
        at(ToolCallCompleted, 4, 2, tool=call(step=2, outcome="failed")),
    )
    assert [[one.outcome for one in step.calls] for step in timeline.steps] == [["succeeded"], ["failed"]]


def test_a_call_that_a_person_let_run_is_executed_once_the_run_goes_on() -> None:
    asks = call(requires_confirmation=True)
    timeline = folded(
        at(RunStarted, 0),
        at(ToolCallStarted, 1, tool=asks),
        at(RunPaused, 1),
        at(ToolCallAnswered, 5, tool_call_id="c1", tool_name="add", answered_by="ann"),
        at(RunContinued, 6),
        at(ToolCallCompleted, 8, tool=asks.model_copy(update={"confirmed": True, "outcome": "succeeded"})),
        at(RunCompleted, 9, 2),
    )
    (one,) = timeline.steps[0].calls
    assert one.answer is not None and one.answer.decision == "approved"
    assert [(since(attempt.began_at), one.outcome) for attempt in one.attempts] == [(6, "succeeded")]
    assert [(since(pause.began_at), since(pause.ended_at)) for pause in timeline.pauses] == [(1, 6)]


def test_a_run_that_is_cancelled_while_the_model_speaks() -> None:
    timeline = folded(
        at(RunStarted, 0), at(RunContent, 1, content="Once"), at(RunCancelled, 2), status=RunStatus.CANCELLED
    )
    assert turns(timeline) == [(1, 0, 2, "cancelled")]


def test_a_run_that_expired_before_anybody_took_it_has_no_steps() -> None:
    assert folded(at(RunError, 5, 0), status=RunStatus.ERROR).steps == []


def test_events_of_a_pool_alone_make_a_call_without_record() -> None:
    executing = at(
        ToolCallExecuting, 1, tool_call_id="c9", tool_name="odd", pool="shell", worker="w", sandbox_level="ns"
    )
    (one,) = folded(executing, status=RunStatus.RUNNING).steps[0].calls
    assert (one.tool_name, one.pool, one.record) == ("odd", "shell", None)


def test_the_timeline_of_machines_has_no_second_copy_of_the_records() -> None:
    dumped = recorded("people").model_dump(mode="json")
    assert dumped == Timeline.model_validate(dumped).model_dump(mode="json")
    assert "tool_args" not in str(dumped)
