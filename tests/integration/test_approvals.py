"""Calls that a person has to approve before their pool gets them: the scripts against a real server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from pydantic import JsonValue

from agent_core.errors import InvalidAnswerError
from agent_core.events import ToolCallAnswered, ToolCallSettled
from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome, CallResult, Confirmation, ToolExecution
from queues import keys
from queues.calls import CallAddress, ClaimedCall
from queues.claims import ClaimedRun, Claims
from queues.errors import AlreadyAnsweredError
from queues.people import People
from queues.replies import newest
from queues.stored_events import read_event, read_pool_event, stored_event
from queues.timing import Timing
from tests.support.queue_floor import DONE, Floor, address, at_step_one, claimed, external, function, parts
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis


def unapproved(tool_call_id: str, pool: str | None = "shell") -> ToolExecution:
    return external(tool_call_id, pool).model_copy(update={"requires_approval": True})


def handed_out(floor: Floor, *calls: ToolExecution, approval_seconds: float | None = None) -> ClaimedRun:
    """A run that a worker holds, with these calls handed out."""
    run = claimed(floor.claims, floor.submitted())
    floor.connection.delete("agents")
    snapshot = at_step_one(run.snapshot, calls)
    handed = parts(run, calls, function(), queue_seconds=60, approvals={"shell": approval_seconds})
    return floor.claims.checkpoint(run, snapshot, handed, [])


def asked(floor: Floor, *calls: ToolExecution, approval_seconds: float | None = None) -> str:
    """The id of a paused run that waits for these calls."""
    return floor.pause(handed_out(floor, *calls, approval_seconds=approval_seconds)).run_id


@pytest.fixture
def people(floor: Floor) -> People:
    return People(floor.runs)


def pending(floor: Floor, run_id: str) -> dict[str, ToolExecution]:
    return {call.tool_call_id: call for call in floor.runs.unanswered(floor.runs.load(run_id))}


def told(floor: Floor, run_id: str) -> list[dict[str, object]]:
    """What the run's readers were told."""
    entries: Any = floor.connection.xrange(keys.events(run_id))
    return [json.loads(fields["event"]) for _, fields in entries]


def all_keys(floor: Floor, pool: str = "shell") -> list[str]:
    return list(floor.connection.scan_iter(keys.part_prefix(pool) + "*"))


def test_an_unapproved_call_is_nowhere_where_its_pool_can_reach(floor: Floor) -> None:
    run_id = asked(floor, unapproved("a"))
    assert floor.calls.claim(address(run_id, "a")) == "missing"
    assert all_keys(floor) == [] and floor.connection.llen("tools.shell") == 0
    assert floor.claims.claim(run_id, owner="early") == "waiting"
    assert pending(floor, run_id)["a"].waits_for_person


def test_an_approved_call_is_executed_and_continues_the_run(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"))
    people.confirm(run_id, "a", True, note="go on", answered_by="ann")
    assert floor.connection.llen("tools.shell") == 1 and len(floor.due_entries()) == 1
    assert floor.continuations() == 0 and floor.claims.claim(run_id, owner="early") == "waiting"
    call = pending(floor, run_id)["a"]
    assert (call.confirmed, call.answered_by, call.waits_for_person, call.is_paused) == (True, "ann", False, True)

    begun = floor.executing(run_id, "a")
    assert begun.request.tool_args == {"key": "x"}
    assert floor.calls.settle(begun, DONE) == "last"
    run = claimed(floor.claims, run_id)
    (record,) = run.snapshot.calls
    assert run.answers == {"a": DONE}
    assert (record.confirmed, record.confirmation_note, record.answered_by) == (True, "go on", "ann")
    assert record.answered_at is not None and abs(record.answered_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert record.requested_args is None


def test_a_person_may_change_the_arguments(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"))
    # What a decoder of the server would spoil: an empty list, a large number, a deep value.
    changed: dict[str, JsonValue] = {"key": "y", "none": [], "big": 2**60 + 1, "deep": {"list": [{}]}}
    people.confirm(run_id, "a", True, arguments=changed)
    begun = floor.executing(run_id, "a")
    assert begun.request.tool_args == changed
    floor.calls.settle(begun, DONE)
    (record,) = claimed(floor.claims, run_id).snapshot.calls
    assert (record.tool_args, record.requested_args) == (changed, {"key": "x"})
    record.settle(DONE)
    assert record.message_text().startswith('[a person changed the arguments of this call to {"key": "y"')
    assert record.message_text().endswith("]\nfound")


def test_arguments_that_stay_the_same_are_no_change(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"))
    people.confirm(run_id, "a", True, arguments={"key": "x"})
    assert pending(floor, run_id)["a"].requested_args is None


def test_a_refused_call_is_never_executed_and_its_note_is_the_answer(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"))
    people.confirm(run_id, "a", False, note="not on a Friday", answered_by="bob")
    assert floor.continuations() == 1 and all_keys(floor) == []
    (answer,) = claimed(floor.claims, run_id).answers.values()
    assert isinstance(answer, Confirmation) and not answer.confirmed
    assert (answer.note, answer.answered_by) == ("not on a Friday", "bob") and answer.answered_at is not None
    (event,) = [event for event in told(floor, run_id) if event["event"] == "ToolCallSettled"]
    assert (event["outcome"], event["answered_by"], event["content"]) == ("denied", "bob", "not on a Friday")


def test_calls_of_one_batch_are_decided_one_by_one(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"), unapproved("b"), unapproved("c"), external("p", None))
    people.confirm(run_id, "b", True)
    assert floor.calls.settle(floor.executing(run_id, "b"), DONE) == "last"
    people.confirm(run_id, "a", True)
    people.confirm(run_id, "c", False)
    people.settle(run_id, "p", result="by hand", error=None, answered_by="ann")
    assert floor.claims.claim(run_id, owner="early") == "waiting"
    assert floor.calls.settle(floor.executing(run_id, "a"), CallResult(content="a")) == "last"
    answers = claimed(floor.claims, run_id).answers
    assert answers["a"] == CallResult(content="a") and answers["b"] == DONE
    assert isinstance(answers["c"], Confirmation)
    assert isinstance(answers["p"], CallResult) and answers["p"].answered_by == "ann"


def test_the_same_answer_again_is_answered_as_the_first_time_and_another_one_refused(
    floor: Floor, people: People
) -> None:
    run_id = asked(floor, unapproved("a"), unapproved("b"), external("p", None))
    for _ in range(2):
        people.confirm(run_id, "a", True, answered_by="ann", arguments={"key": "y"})
        people.confirm(run_id, "b", False, note="no", answered_by="ann")
        people.settle(run_id, "p", result="1", error=None)
    assert floor.connection.llen("tools.shell") == 1
    assert floor.connection.hget(keys.part("shell", run_id, 1), "outstanding") == "1"
    for call_id, approved, by in (("a", False, "ann"), ("a", True, "bob"), ("b", True, "ann"), ("b", False, "ann")):
        with pytest.raises(AlreadyAnsweredError, match=f"call {call_id} of run {run_id} is answered already"):
            people.confirm(run_id, call_id, approved, answered_by=by)
    with pytest.raises(AlreadyAnsweredError):
        people.settle(run_id, "p", result="2", error=None)


def test_of_many_people_who_answer_at_once_one_decides(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"))

    def decide(name: str) -> str | None:
        try:
            people.confirm(run_id, "a", True, arguments={"key": name}, answered_by=name)
        except AlreadyAnsweredError:
            return None
        return name

    with ThreadPoolExecutor(8) as threads:
        (winner,) = [name for name in threads.map(decide, [f"p{number}" for number in range(16)]) if name]
    assert floor.connection.llen("tools.shell") == 1
    assert floor.executing(run_id, "a").request.tool_args == {"key": winner}
    assert pending(floor, run_id)["a"].answered_by == winner


def test_an_approval_while_the_step_still_runs_reaches_the_pool(floor: Floor, people: People) -> None:
    run = handed_out(floor, unapproved("a"))
    people.confirm(run.run_id, "a", True, answered_by="ann")
    floor.calls.settle(floor.executing(run.run_id, "a"), DONE)
    floor.connection.delete("agents")  # the hint found the run held
    floor.pause(run)
    assert floor.continuations() == 1
    assert floor.connection.zscore(keys.DEADLINES, run.run_id) is None
    assert claimed(floor.claims, run.run_id).answers == {"a": DONE}


def test_a_holder_that_dies_between_hand_out_and_pause_leaves_the_approval_as_it_is(
    floor: Floor, people: People
) -> None:
    run = handed_out(floor, unapproved("a"), unapproved("b"))
    people.confirm(run.run_id, "a", True)
    floor.connection.hset(keys.run(run.run_id), "lease_until", 0)
    floor.pause(claimed(floor.claims, run.run_id))
    people.confirm(run.run_id, "b", True)
    for call_id in ("a", "b"):
        floor.calls.settle(floor.executing(run.run_id, call_id), DONE)
    assert claimed(floor.claims, run.run_id).answers == {"a": DONE, "b": DONE}


@pytest.mark.parametrize("approved", [True, False])
def test_nothing_is_decided_once_the_end_of_the_run_was_asked_for(floor: Floor, people: People, approved: bool) -> None:
    held = handed_out(floor, unapproved("a"))
    stored = floor.runs.load(held.run_id)
    assert floor.cancel(held.run_id) == "requested"
    with pytest.raises(InvalidAnswerError, match="has ended or is about to"):
        people.confirm(held.run_id, "a", approved)

    run_id = asked(floor, unapproved("a"))
    stored = floor.runs.load(run_id)
    assert floor.cancel(run_id) == "ended"
    assert floor.runs.answer(stored, "a", Confirmation(confirmed=approved)) == "ended"
    with pytest.raises(InvalidAnswerError, match="does not wait for call 'a'"):
        people.confirm(run_id, "a", approved)
    assert all_keys(floor) == [] and floor.connection.llen("tools.shell") == 0


def test_an_approved_call_is_cancelled_with_its_run(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"))
    people.confirm(run_id, "a", True)
    floor.cancel(run_id)
    assert floor.calls.claim(address(run_id, "a")) == "cancelled"
    for key in (keys.approvals("shell", run_id, 1), keys.part("shell", run_id, 1)):
        assert floor.connection.pttl(key) > 0


def test_a_retried_run_asks_again_for_what_was_not_approved(floor: Floor, people: People) -> None:
    run = handed_out(floor, unapproved("a"), unapproved("b"), unapproved("c"))
    people.confirm(run.run_id, "a", True, arguments={"key": "y"}, answered_by="ann")
    people.confirm(run.run_id, "c", True)
    floor.calls.settle(floor.executing(run.run_id, "c"), DONE)
    run.snapshot.output.status = RunStatus.ERROR
    floor.claims.finish(run, run.snapshot, [])
    with pytest.raises(InvalidAnswerError, match="has ended"):
        people.confirm(run.run_id, "b", True)
    assert floor.calls.claim(address(run.run_id, "a")) == "cancelled"

    floor.connection.delete("tools.shell")
    floor.runs.retry(floor.runs.load(run.run_id))
    again = claimed(floor.claims, run.run_id)
    again.snapshot.output.status = RunStatus.PAUSED
    # The pool asks for no approval any more: what a person was to decide stays theirs.
    floor.claims.pause(again, again.snapshot, parts(again, again.snapshot.pending), [])
    assert floor.connection.llen("tools.shell") == 1
    assert {call.tool_call_id for call in pending(floor, run.run_id).values() if call.waits_for_person} == {"b"}
    people.confirm(run.run_id, "b", False)
    begun = floor.executing(run.run_id, "a")
    assert begun.request.tool_args == {"key": "y"}
    assert floor.calls.settle(begun, DONE) == "last"
    end = claimed(floor.claims, run.run_id)
    assert (end.answers["a"], end.answers["c"]) == (DONE, DONE)
    assert {call.tool_call_id: call.answered_by for call in end.snapshot.calls}["a"] == "ann"


def test_a_pool_can_neither_approve_nor_sign_nor_change_what_was_approved(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"))
    part = keys.part("shell", run_id, 1)
    forged = CallResult(content="forged", answered_by="the boss", answered_at=datetime.now(UTC))
    floor.connection.hset(part, mapping={"state:a": "settled", "answer:a": forged.model_dump_json()})
    floor.connection.hset(part, "outstanding", "junk")
    assert floor.claims.claim(run_id, owner="early") == "waiting"
    assert pending(floor, run_id)["a"].waits_for_person
    # It answers its own calls, as it always could: but who let it is written where it cannot write.
    people.confirm(run_id, "a", True, answered_by="ann")
    run = claimed(floor.claims, run_id)
    assert run.answers == {"a": CallResult(content="forged")}
    assert run.snapshot.calls[0].answered_by == "ann"


def test_another_kind_of_key_in_the_parts_place_does_not_stop_an_approval(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"))
    floor.connection.lpush(keys.part("shell", run_id, 1), "junk")
    people.confirm(run_id, "a", True)
    assert isinstance(floor.calls.claim(address(run_id, "a")), ClaimedCall)


def test_an_approval_that_nobody_gives_in_time_expires_and_the_run_goes_on(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"), unapproved("b"), approval_seconds=1000)
    approvals = floor.repairs.approvals
    people.confirm(run_id, "b", True)
    floor.calls.settle(floor.executing(run_id, "b"), DONE)
    (entry,) = newest(floor.connection, keys.UNAPPROVED, 10)
    assert approvals.due(limit=10) == [] and approvals.look_at(entry) == "held"
    floor.connection.zadd(keys.UNAPPROVED, {entry: 1})
    assert approvals.due(limit=10) == [entry]
    floor.connection.delete("agents")
    assert [approvals.look_at(entry) for _ in range(2)] == ["expired", "gone"]
    assert floor.continuations() == 1
    with pytest.raises(AlreadyAnsweredError):
        people.confirm(run_id, "a", True)
    answers = claimed(floor.claims, run_id).answers
    assert isinstance(answers["a"], CallResult) and answers["a"].outcome is CallOutcome.EXPIRED
    assert "Nobody approved" in answers["a"].content and answers["a"].answered_at is None
    assert answers["b"] == DONE
    assert floor.connection.zcard(keys.UNAPPROVED) == 0


@pytest.mark.parametrize("end", ["cancelled", "answered", "gone"])
def test_an_approval_that_is_not_awaited_any_more_does_not_expire(floor: Floor, people: People, end: str) -> None:
    run_id = asked(floor, unapproved("a"), approval_seconds=1000)
    (entry,) = newest(floor.connection, keys.UNAPPROVED, 10)
    if end == "cancelled":
        floor.cancel(run_id)
    elif end == "answered":
        people.confirm(run_id, "a", True)
        assert floor.connection.zcard(keys.UNAPPROVED) == 0
    else:
        floor.connection.delete(keys.run(run_id), keys.approvals("shell", run_id, 1))
    floor.connection.zadd(keys.UNAPPROVED, {entry: 1})
    assert floor.repairs.approvals.look_at(entry) == "gone"
    assert floor.connection.zcard(keys.UNAPPROVED) == 0


def test_people_have_the_runs_deadline_and_an_approved_call_has_not(
    floor: Floor, people: People, redis_connection: redis.Redis
) -> None:
    run_id = asked(floor, unapproved("a"), unapproved("b"))
    assert floor.connection.zscore(keys.DEADLINES, run_id) is not None
    people.confirm(run_id, "a", True)
    assert floor.connection.zscore(keys.DEADLINES, run_id) is not None
    people.confirm(run_id, "b", True)
    assert floor.connection.zscore(keys.DEADLINES, run_id) is None

    floor.claims = Claims(redis_connection, timing=Timing(people_seconds=0.001))
    late_id = asked(floor, unapproved("a"))
    wait_until(lambda: floor.sweep_deadlines() == ["expired"], "people took too long")
    output = floor.runs.load(late_id).snapshot.output
    assert (output.status, output.error) == (RunStatus.ERROR, "expired: nobody answered look_up in time")
    assert output.tools[0].outcome is CallOutcome.EXPIRED


def test_an_approved_call_waits_in_its_queue_as_long_as_its_pool_says(floor: Floor, people: People) -> None:
    run_id = asked(floor, unapproved("a"))
    people.confirm(run_id, "a", True)
    until, queued = floor.connection.hmget(keys.part("shell", run_id, 1), "queue_until:a", "queued:a")
    assert int(until or 0) - int(queued or 0) == 60_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"key": "x" * (1024 * 1024)}, "bytes; 1048576 are allowed"),
        ({"key": float("nan")}, "must be an object that JSON can hold"),
        ({"key": object()}, "must be an object that JSON can hold"),
        ({"key": "\ud800"}, "must be an object that JSON can hold"),
    ],
)
def test_arguments_that_cannot_be_sent_are_refused(
    floor: Floor, people: People, arguments: dict[str, object], sentence: str
) -> None:
    run_id = asked(floor, unapproved("a"))
    with pytest.raises(InvalidAnswerError, match=sentence):
        people.confirm(run_id, "a", True, arguments=arguments)  # type: ignore[arg-type]
    assert pending(floor, run_id)["a"].waits_for_person


def test_what_does_not_fit_the_call_is_refused(floor: Floor, people: People) -> None:
    asked_to_confirm = ToolExecution(tool_call_id="q", tool_name="look_up", step=1, requires_confirmation=True)
    run_id = asked(floor, unapproved("a"), external("b"), asked_to_confirm)
    refused: dict[str, dict[str, object]] = {
        "arguments= go with an approval": {"tool_call_id": "a", "approved": False, "arguments": {}},
        "takes no arguments with its confirmation": {"tool_call_id": "q", "approved": True, "arguments": {}},
        "does not ask for confirmation; pool shell": {"tool_call_id": "b", "approved": True},
        "give True or False": {"tool_call_id": "a", "approved": "no"},
        "answered_by has 201 characters": {"tool_call_id": "a", "approved": True, "answered_by": "x" * 201},
    }
    for sentence, given in refused.items():
        with pytest.raises(InvalidAnswerError, match=sentence):
            people.confirm(run_id, **given)  # type: ignore[arg-type]
    with pytest.raises(InvalidAnswerError, match="is executed by pool shell"):
        people.settle(run_id, "a", result="1", error=None)


def test_a_call_of_the_same_id_in_a_later_step_is_asked_for_anew(floor: Floor, people: People) -> None:
    """Providers use ids again."""
    run_id = asked(floor, unapproved("a"))
    people.confirm(run_id, "a", False, answered_by="ann")
    run = claimed(floor.claims, run_id)
    snapshot = run.snapshot
    (first,) = snapshot.calls
    answer = run.answers["a"]
    assert isinstance(answer, Confirmation)
    first.take_confirmation(answer)
    first.settle(CallResult(outcome=CallOutcome.DENIED, content="no"))
    snapshot.step = 2
    second = unapproved("a").model_copy(update={"step": 2})
    snapshot.output.tools.append(second)
    snapshot.output.status = RunStatus.PAUSED
    floor.claims.pause(run, snapshot, parts(run, [second], approvals={"shell": None}), [])
    people.confirm(run_id, "a", True)
    call = floor.calls.claim(CallAddress("shell", run_id, 2, "a", "look_up"))
    assert isinstance(call, ClaimedCall)


def test_a_pool_cannot_tell_readers_that_a_person_agreed(floor: Floor) -> None:
    run_id = asked(floor, unapproved("a"))
    run = floor.runs.load(run_id).snapshot.output
    told = {"run_id": run_id, "agent_name": "ops", "tool_call_id": "a", "tool_name": "look_up", "answered_by": "ann"}
    answered = ToolCallAnswered.model_validate(told)
    settled = ToolCallSettled.model_validate({**told, "outcome": "succeeded", "pool": "shell"})
    assert read_pool_event(run, "1-0", stored_event(answered)) is None
    told_by_pool = read_pool_event(run, "1-0", stored_event(settled))
    assert isinstance(told_by_pool, ToolCallSettled) and told_by_pool.answered_by is None
    assert read_event(run, "1-0", stored_event(answered)).to_dict()["answered_by"] == "ann"
