"""How runs and calls end when nothing goes well: deadlines, dead letters, parking, retries, retention."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from agent_core.events import RunCompleted
from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome, CallResult, ToolExecution
from queues import keys
from queues.claims import Claims
from queues.errors import DeadLetterNotFoundError, RunNotFailedError
from queues.repairs import Repairs
from queues.timing import Timing
from queues.topology import AGENTS_QUEUE
from tests.support.queue_floor import DONE, Floor, address, at_step_one, claimed, external, parts
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis


def test_a_run_that_kills_its_third_holder_is_buried_and_can_be_dug_up(floor: Floor) -> None:
    run_id = floor.submitted()
    floor.kill_three_holders(run_id)
    assert floor.claims.claim(run_id, owner="fourth") == "poisonous"
    assert floor.sweep_runs() == ["buried"]
    stored = floor.runs.load(run_id)
    assert stored.snapshot.status is RunStatus.ERROR and "buried" in str(stored.snapshot.output.error)
    assert [letter.id for letter in floor.letters.latest(limit=10)] == [run_id]

    floor.connection.delete(AGENTS_QUEUE)
    floor.runs.retry(stored)
    assert floor.continuations() == 1
    assert floor.letters.latest(limit=10) == []
    claimed(floor.claims, run_id)


def test_a_repeatable_call_that_kills_its_third_worker_is_buried_and_can_be_dug_up(floor: Floor) -> None:
    run = floor.paused(external("a"), on_lost="retry", max_attempts=10)
    for _ in range(2):
        floor.executing(run.run_id, "a", floor.dying)
        floor.become_due()
        assert floor.sweep_calls() == ["pushed"]
    floor.executing(run.run_id, "a", floor.dying)
    assert floor.sweep_calls() == ["buried"]
    assert floor.calls.claim(address(run.run_id, "a")) == "buried"
    (letter,) = floor.letters.latest(limit=10)
    assert (letter.id, letter.pool, letter.tool_name) == (f"{run.run_id}:1:a", "shell", "look_up")

    floor.connection.delete("tools.shell")
    assert floor.letters.requeue_call(floor.letters.load(letter.id))
    assert floor.connection.llen("tools.shell") == 1
    assert floor.calls.settle(floor.executing(run.run_id, "a"), DONE) == "last"
    assert claimed(floor.claims, run.run_id).answers == {"a": DONE}
    with pytest.raises(DeadLetterNotFoundError, match="errandry dead list"):
        floor.letters.load(letter.id)


def test_a_call_of_a_run_that_has_ended_is_not_dug_up(floor: Floor) -> None:
    floor.cancel(floor.buried_call().partition(":")[0])
    (letter,) = floor.letters.latest(limit=10)
    assert not floor.letters.requeue_call(letter)
    assert floor.letters.latest(limit=10) == []


def test_a_run_ends_at_its_deadline_wherever_it_waits(floor: Floor) -> None:
    waiting = floor.submitted(deadline_seconds=0.001)
    wait_until(lambda: floor.sweep_deadlines() == ["expired"], "the deadline has passed")
    stored = floor.runs.load(waiting).snapshot
    assert stored.status is RunStatus.ERROR and str(stored.output.error).startswith("expired")
    assert floor.claims.claim(waiting, owner="late") == "finished"
    assert floor.sweep_deadlines() == []


def test_the_holder_of_a_run_is_told_about_its_deadline(floor: Floor) -> None:
    run = claimed(floor.claims, floor.submitted(deadline_seconds=0.001))
    wait_until(lambda: floor.sweep_deadlines() == ["told"], "the deadline has passed")
    assert floor.claims.renew(run) == "cancelled"
    assert floor.claims.cancel_reason(run) == "expired"


def test_a_run_that_waits_too_long_for_people_expires(redis_connection: redis.Redis) -> None:
    floor = Floor(redis_connection)
    floor.claims = Claims(redis_connection, timing=Timing(people_seconds=0.001))
    asked = ToolExecution(tool_call_id="a", tool_name="look_up", step=1, requires_confirmation=True)
    run = floor.paused(asked)
    wait_until(lambda: floor.sweep_deadlines() == ["expired"], "people took too long")
    stored = floor.runs.load(run.run_id).snapshot
    assert stored.output.tools[0].outcome is CallOutcome.EXPIRED
    assert floor.runs.answer(floor.runs.load(run.run_id), "a", DONE) == "missing"
    assert floor.claims.claim(run.run_id, owner="late") == "finished"


def test_a_run_that_waits_for_a_pool_alone_has_no_deadline_of_its_own(floor: Floor) -> None:
    floor.paused(external("a"))
    assert floor.connection.zrange(keys.DEADLINES, 0, -1) == []


def test_a_call_that_nobody_takes_in_time_is_told_to_the_model(floor: Floor) -> None:
    run = claimed(floor.claims, floor.submitted())
    handed_out = parts(run, [external("a")], queue_seconds=0.001)
    floor.pause(floor.claims.checkpoint(run, at_step_one(run.snapshot, [external("a")]), handed_out, []))
    floor.become_due()
    wait_until(lambda: floor.sweep_calls() == ["expired"], "the call has waited too long")
    answer = claimed(floor.claims, run.run_id).answers["a"]
    assert isinstance(answer, CallResult) and answer.outcome is CallOutcome.EXPIRED


def test_only_a_failed_run_is_retried(floor: Floor) -> None:
    with pytest.raises(RunNotFailedError, match="PENDING"):
        floor.runs.retry(floor.runs.load(floor.submitted()))


def test_a_retried_run_keeps_the_answers_that_are_in(floor: Floor) -> None:
    run = floor.dispatched(external("a"), external("b"))
    floor.calls.settle(floor.executing(run.run_id, "b"), DONE)
    run.snapshot.output.status = RunStatus.ERROR
    floor.claims.finish(run, run.snapshot, [])
    floor.runs.retry(floor.runs.load(run.run_id))
    again = claimed(floor.claims, run.run_id)
    again.snapshot.output.status = RunStatus.PAUSED
    floor.claims.pause(again, again.snapshot, parts(again, [external("a"), external("b")]), [])
    assert floor.calls.claim(address(run.run_id, "b")) == "settled"
    anew = CallResult(content="anew")
    assert floor.calls.settle(floor.executing(run.run_id, "a"), anew) == "last"
    assert claimed(floor.claims, run.run_id).answers == {"a": anew, "b": DONE}


def test_a_run_that_nobody_here_can_carry_on_is_parked_and_offered_again(floor: Floor) -> None:
    run_id = floor.submitted()
    run = claimed(floor.claims, run_id)
    floor.claims.park(run_id, "parked: by a stranger")
    assert floor.claims.renew(run) == "held"  # a held run is let go by its holder alone
    floor.claims.park(run_id, "parked: no tool", run=run)
    assert floor.claims.renew(run) == "lost"
    stored = floor.runs.load(run_id).snapshot
    assert (stored.status, stored.output.error) == (RunStatus.PENDING, "parked: no tool")
    claimed(floor.claims, run_id, owner="one that can")
    assert floor.runs.load(run_id).snapshot.output.error is None


def test_indexes_forget_what_redis_has_let_go_of(redis_connection: redis.Redis) -> None:
    floor = Floor(redis_connection)
    floor.claims = Claims(redis_connection, timing=Timing(retention_seconds=0.001))
    run = claimed(floor.claims, floor.submitted())
    run.snapshot.output.status = RunStatus.COMPLETED
    floor.claims.finish(run, run.snapshot, [RunCompleted(run_id=run.run_id, agent_name="ops")])
    repairs = Repairs(redis_connection, timing=Timing(retention_seconds=0.001))
    wait_until(lambda: not redis_connection.exists(keys.run(run.run_id)), "the run is gone")
    assert repairs.trim(limit=10) == 1
    assert redis_connection.zcard(keys.RUNS) == redis_connection.zcard(keys.EXPIRING) == 0
    kept = {keys.STATES, keys.session(run.snapshot.output.session_id or "")}
    assert set(redis_connection.keys("errandry:*")) <= kept


def test_forged_and_late_answers_are_refused_and_counted(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a")
    forged = replace(call, epoch="7")
    assert floor.calls.settle(forged, CallResult(content="forged")) == "stale"
    assert floor.calls.settle(call, DONE) == "last"
    assert floor.calls.settle(call, DONE) == "settled"  # the reply to it was lost, say
    assert floor.calls.settle(call, CallResult(content="another")) == "already"
    assert floor.connection.hget(keys.part("shell", run.run_id, 1), "refused") == "2"


def test_a_run_that_gets_on_forgets_its_dead_holders(floor: Floor) -> None:
    run_id = floor.submitted()
    floor.kill_three_holders(run_id)
    floor.connection.hset(keys.run(run_id), "deaths", 1)
    run = claimed(floor.claims, run_id)
    floor.claims.checkpoint(run, at_step_one(run.snapshot, []), [], [])
    assert not floor.connection.hexists(keys.run(run_id), "deaths")


def test_a_retried_run_leaves_a_call_in_the_hands_that_have_it(floor: Floor) -> None:
    run = floor.dispatched(external("a"))
    call = floor.executing(run.run_id, "a")
    run.snapshot.output.status = RunStatus.ERROR
    floor.claims.finish(run, run.snapshot, [])
    floor.runs.retry(floor.runs.load(run.run_id))
    again = claimed(floor.claims, run.run_id)
    again.snapshot.output.status = RunStatus.PAUSED
    floor.claims.pause(again, again.snapshot, parts(again, [external("a")]), [])
    assert floor.calls.claim(address(run.run_id, "a")) == "held"
    assert floor.calls.settle(call, DONE) == "last"
    assert claimed(floor.claims, run.run_id).answers == {"a": DONE}


def test_a_snapshot_of_a_newer_release_is_left_to_its_workers(floor: Floor) -> None:
    run_id = floor.submitted()
    stored = floor.connection.hget(keys.run(run_id), "snapshot")
    assert isinstance(stored, str)
    floor.connection.hset(keys.run(run_id), "snapshot", stored.replace('"schema":1', '"schema":99'))
    assert floor.claims.claim(run_id, owner="old") == "unreadable"
    assert "schema 99" in str(floor.connection.hget(keys.run(run_id), "parked"))
    floor.connection.hset(keys.run(run_id), "snapshot", stored)
    claimed(floor.claims, run_id, owner="new")


def test_a_copy_of_a_message_does_not_shorten_the_wait_for_another_try(floor: Floor) -> None:
    run = floor.paused(external("a"), max_attempts=3)
    failed = CallResult(outcome=CallOutcome.FAILED, content="no")
    floor.calls.settle(floor.executing(run.run_id, "a"), failed, retry_after_seconds=30)
    assert floor.calls.claim(address(run.run_id, "a")) == "backing_off"
