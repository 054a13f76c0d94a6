"""The scripts of runs and calls against a real server: one claim at a time, one answer per call, one continuation."""

from __future__ import annotations

import pytest
import redis

from agent_core.errors import RunNotFoundError, StaleRunError
from agent_core.events import RunCompleted
from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome, CallResult, Confirmation, ToolExecution
from queues import keys
from queues.calls import Calls, ClaimedCall
from queues.claims import Claims
from queues.errors import IdempotencyConflictError, UnknownAgentError
from queues.runs import Runs
from queues.topology import AGENTS_QUEUE
from tests.support.queue_floor import (
    DONE,
    EXPIRED,
    TIMING,
    Floor,
    address,
    at_step_one,
    claimed,
    external,
    parts,
    pending_snapshot,
    unsigned,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis


def test_a_submitted_run_is_stored_and_published_in_one_step(floor: Floor) -> None:
    run_id = floor.submitted()
    assert floor.runs.load(run_id).snapshot.output.status is RunStatus.PENDING
    assert floor.continuations() == 1


def test_one_idempotency_key_gives_one_run(floor: Floor) -> None:
    first = pending_snapshot()
    run_id = floor.runs.create(first, agent="ops", lane="normal", idempotency_key="order-7")
    assert floor.runs.create(pending_snapshot(), agent="ops", lane="normal", idempotency_key="order-7") == run_id
    assert floor.continuations() == 1
    with pytest.raises(IdempotencyConflictError, match="order-7"):
        floor.runs.create(pending_snapshot("other"), agent="other", lane="normal", idempotency_key="order-7")


def test_a_submit_whose_answer_was_lost_counts_once(floor: Floor) -> None:
    first = pending_snapshot()
    stored = [floor.runs.create(first, agent="ops", lane="normal") for _ in range(2)]
    assert stored == [first.output.run_id] * 2
    assert floor.continuations() == 1


def test_an_unknown_agent_is_refused_once_agents_are_announced(floor: Floor) -> None:
    floor.claims.announce(["support", "billing"], valid_seconds=30)
    with pytest.raises(UnknownAgentError, match="billing, support"):
        floor.submitted()
    assert floor.continuations() == 0
    floor.claims.announce(["ops"], valid_seconds=30)
    assert floor.submitted()


def test_an_announcement_that_ran_out_refuses_nobody(floor: Floor) -> None:
    floor.claims.announce(["support"], valid_seconds=0)
    assert floor.submitted()


def test_a_run_has_one_holder_at_a_time(floor: Floor) -> None:
    run_id = floor.submitted()
    claimed(floor.claims, run_id)
    assert floor.claims.claim(run_id, owner="another") == "held"


def test_an_unknown_run_is_no_run(floor: Floor) -> None:
    assert floor.claims.claim("run_nothing", owner="me") == "missing"
    with pytest.raises(RunNotFoundError, match="run_nothing"):
        floor.runs.load("run_nothing")


def test_a_holder_that_lost_its_lease_writes_nothing(floor: Floor, redis_connection: redis.Redis) -> None:
    run_id = floor.submitted()
    frozen = claimed(Claims(redis_connection, timing=EXPIRED), run_id)
    successor = claimed(floor.claims, run_id)
    assert successor.epoch != frozen.epoch
    with pytest.raises(StaleRunError):
        floor.claims.checkpoint(frozen, at_step_one(frozen.snapshot, []), [], [])
    assert floor.claims.renew(frozen) == "lost"
    assert floor.claims.renew(successor) == "held"
    assert floor.runs.load(run_id).snapshot.step == 0


def test_dispatch_hands_each_call_to_its_pool(floor: Floor) -> None:
    floor.dispatched(external("a"), external("b", "python"), external("c"))
    assert (floor.connection.llen("tools.shell"), floor.connection.llen("tools.python")) == (2, 1)


def test_the_last_answer_of_the_step_continues_the_run(floor: Floor) -> None:
    run = floor.paused(external("a"), external("b"))
    assert floor.calls.settle(floor.executing(run.run_id, "a"), DONE) == "settled"
    assert floor.claims.claim(run.run_id, owner="early") == "waiting"
    assert floor.continuations() == 0
    assert floor.calls.settle(floor.executing(run.run_id, "b"), DONE) == "last"
    assert floor.continuations() == 1
    continued = claimed(floor.claims, run.run_id)
    assert continued.answers == {"a": DONE, "b": DONE}
    assert floor.claims.claim(run.run_id, owner="copy") == "held"


def test_parts_of_two_pools_are_joined_by_the_claim(floor: Floor) -> None:
    run = floor.paused(external("a"), external("b", "python"))
    assert floor.calls.settle(floor.executing(run.run_id, "a"), DONE) == "last"
    assert floor.claims.claim(run.run_id, owner="early") == "waiting"
    other = floor.calls.claim(address(run.run_id, "b", "python"))
    assert isinstance(other, ClaimedCall)
    assert floor.calls.settle(other, DONE) == "last"
    assert set(claimed(floor.claims, run.run_id).answers) == {"a", "b"}


def test_answers_that_came_before_the_pause_still_continue_the_run(floor: Floor) -> None:
    run = floor.dispatched(external("a"))
    floor.calls.settle(floor.executing(run.run_id, "a"), DONE)
    assert floor.claims.claim(run.run_id, owner="early") == "held"  # this hint goes unheard
    floor.connection.delete(AGENTS_QUEUE)
    floor.pause(run)
    assert floor.continuations() == 1
    assert claimed(floor.claims, run.run_id).answers == {"a": DONE}


def test_a_pause_that_hands_calls_out_does_both_in_one_step(floor: Floor) -> None:
    run = claimed(floor.claims, floor.submitted())
    snapshot = at_step_one(run.snapshot, [external("a")])
    snapshot.output.status = RunStatus.PAUSED
    floor.claims.pause(run, snapshot, parts(run, [external("a")]), [])
    assert floor.connection.llen("tools.shell") == 1
    assert floor.claims.claim(run.run_id, owner="early") == "waiting"


def test_a_call_is_executed_by_one_worker_at_a_time(floor: Floor) -> None:
    run = floor.paused(external("a"))
    floor.executing(run.run_id, "a")
    assert floor.calls.claim(address(run.run_id, "a")) == "held"
    assert floor.calls.claim(address(run.run_id, "unknown")) == "missing"


def test_the_first_answer_stands(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a")
    floor.calls.settle(call, DONE)
    assert floor.calls.settle(call, CallResult(content="another")) == "already"
    assert floor.calls.claim(address(run.run_id, "a")) == "settled"
    assert claimed(floor.claims, run.run_id).answers == {"a": DONE}
    assert floor.continuations() == 1


def test_a_lost_call_is_reported_and_never_executed_again(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a", floor.dying)
    floor.connection.delete("tools.shell")
    assert floor.sweep_calls() == ["lost"]
    assert floor.connection.llen("tools.shell") == 0
    answer = claimed(floor.claims, run.run_id).answers["a"]
    assert isinstance(answer, CallResult) and answer.outcome is CallOutcome.LOST
    assert answer.metrics.worker == "dying@test"
    assert floor.dying.settle(call, DONE) == "already"


def test_a_lost_call_of_a_repeatable_tool_is_executed_again(floor: Floor) -> None:
    run = floor.paused(external("a"), on_lost="retry", max_attempts=2)
    first = floor.executing(run.run_id, "a", floor.dying)
    assert floor.sweep_calls() == ["pushed"]
    second = floor.executing(run.run_id, "a")
    assert second.attempt == 2
    assert floor.dying.settle(first, DONE) == "stale"
    assert floor.calls.settle(second, DONE) == "last"


def test_a_call_that_never_began_is_simply_given_to_another_worker(floor: Floor) -> None:
    run = floor.paused(external("a"))
    claimed_only = floor.dying.claim(address(run.run_id, "a"))
    assert isinstance(claimed_only, ClaimedCall)
    assert floor.sweep_calls() == ["pushed"]
    assert floor.dying.begin(claimed_only, sandbox_level="ns") == "lost"
    assert floor.executing(run.run_id, "a").attempt == 1


def test_a_cancelled_call_does_not_begin(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.calls.claim(address(run.run_id, "a"))
    assert isinstance(call, ClaimedCall)
    floor.cancel(run.run_id)
    for _ in ("asked", "asked again, since the answer was lost"):
        assert floor.calls.begin(call, sandbox_level="ns") == "cancelled"
    # Its worker has let go of it, so nobody takes it for one that died with the call.
    floor.become_due()
    assert floor.sweep_calls() == []
    assert floor.calls.claim(address(run.run_id, "a")) == "cancelled"


def test_a_call_that_is_cancelled_before_its_worker_hears_that_it_began_does_not_begin(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a")
    floor.cancel(run.run_id)
    assert floor.calls.begin(call, sandbox_level="ns") == "cancelled"
    assert floor.connection.hget(keys.part("shell", run.run_id, 1), "attempts:a") == "0"


def test_a_failed_attempt_goes_back_to_the_queue_after_its_wait(floor: Floor) -> None:
    run = floor.paused(external("a"), max_attempts=2)
    failed = CallResult(outcome=CallOutcome.FAILED, content="no")
    assert floor.calls.settle(floor.executing(run.run_id, "a"), failed, retry_after_seconds=0.001) == "retry"
    assert floor.continuations() == 0
    wait_until(lambda: floor.sweep_calls() == ["pushed"], "the wait is over")
    assert floor.executing(run.run_id, "a").attempt == 2


def test_a_lost_call_message_is_published_again(floor: Floor, redis_connection: redis.Redis) -> None:
    floor.paused(external("a"))
    floor.connection.delete("tools.shell")
    floor.become_due()
    assert floor.sweep_calls() == ["pushed"]
    assert floor.connection.llen("tools.shell") == 1
    assert floor.sweep_calls() == []  # ever more rarely, not at each pass


def test_a_lost_start_and_a_lost_continuation_are_published_again(floor: Floor, redis_connection: redis.Redis) -> None:
    eager = Runs(redis_connection, timing=EXPIRED)
    run_id = eager.create(pending_snapshot(), agent="ops", lane="normal")
    floor.connection.delete(AGENTS_QUEUE)
    assert floor.sweep_runs() == ["pushed"]
    assert floor.continuations() == 1

    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a", Calls(redis_connection, timing=EXPIRED, worker="w"))
    Calls(redis_connection, timing=EXPIRED, worker="w").settle(call, DONE)
    floor.connection.delete(AGENTS_QUEUE)
    assert floor.sweep_calls() == ["pushed"]
    assert floor.continuations() == 1
    assert floor.runs.load(run_id).snapshot.output.status is RunStatus.PENDING


def test_a_run_whose_worker_died_is_given_to_another(floor: Floor, redis_connection: redis.Redis) -> None:
    run_id = floor.submitted()
    claimed(Claims(redis_connection, timing=EXPIRED), run_id)
    floor.connection.delete(AGENTS_QUEUE)
    assert floor.sweep_runs() == ["pushed"]
    claimed(floor.claims, run_id)
    floor.connection.zadd(keys.DUE, {run_id: 1})
    assert floor.sweep_runs() == ["held"]


def test_a_paused_run_leaves_nothing_due_and_no_lease(floor: Floor) -> None:
    run = floor.paused(external("a", pool=None))
    assert floor.connection.zrange(keys.DUE, 0, -1) == []
    assert floor.connection.hmget(keys.run(run.run_id), ["owner", "lease_until"]) == [None, None]


def test_a_person_answers_once_and_the_run_goes_on(floor: Floor) -> None:
    asked = ToolExecution(tool_call_id="a", tool_name="look_up", step=1, requires_confirmation=True)
    run = floor.paused(asked)
    stored = floor.runs.load(run.run_id)
    assert floor.runs.answer(stored, "unknown", Confirmation(confirmed=True)) == "missing"
    assert floor.runs.answer(stored, "a", Confirmation(confirmed=True)) == "last"
    assert floor.runs.answer(stored, "a", Confirmation(confirmed=True)) == "settled"
    assert floor.runs.answer(stored, "a", Confirmation(confirmed=False)) == "already"
    assert floor.continuations() == 1
    (answer,) = claimed(floor.claims, run.run_id).answers.values()
    assert unsigned(answer) == Confirmation(confirmed=True)


def test_a_finished_run_is_kept_for_a_while_and_claimed_by_nobody(floor: Floor) -> None:
    run = claimed(floor.claims, floor.submitted())
    run.snapshot.output.status = RunStatus.COMPLETED
    floor.claims.finish(run, run.snapshot, [RunCompleted(run_id=run.run_id, agent_name="ops")])
    assert floor.claims.claim(run.run_id, owner="late") == "finished"
    assert 0 < floor.connection.pttl(keys.run(run.run_id)) <= TIMING.retention_seconds * 1000
    with pytest.raises(StaleRunError):
        floor.claims.checkpoint(run, run.snapshot, [], [])


def test_cancelling_a_paused_run_ends_it_and_its_calls_at_once(floor: Floor) -> None:
    run = floor.paused(external("a"), external("b"))
    executing = floor.executing(run.run_id, "a")
    assert floor.cancel(run.run_id) == "ended"
    assert floor.runs.load(run.run_id).snapshot.output.status is RunStatus.CANCELLED
    assert floor.calls.renew(executing) == "cancelled"
    assert floor.calls.claim(address(run.run_id, "b")) == "cancelled"
    assert floor.cancel(run.run_id) == "finished"


def test_cancelling_a_running_run_tells_its_holder(floor: Floor) -> None:
    run = claimed(floor.claims, floor.submitted())
    assert floor.cancel(run.run_id) == "requested"
    assert floor.claims.renew(run) == "cancelled"
    assert floor.claims.checkpoint(run, run.snapshot, [], []).cancel_reason == "no longer wanted"


@pytest.mark.parametrize(
    "told", ['{"kind": "result", "outcome": "won"}', "{", '{"kind": "confirmation", "confirmed": true}']
)
def test_an_answer_that_no_tool_worker_gives_is_a_failed_call(floor: Floor, told: str) -> None:
    run = floor.paused(external("a"))
    floor.connection.hset(keys.part("shell", run.run_id, 1), mapping={"answer:a": told, "state:a": "settled"})
    answer = claimed(floor.claims, run.run_id).answers["a"]
    assert isinstance(answer, CallResult) and answer.outcome is CallOutcome.FAILED


def test_a_backlog_breeds_no_copies(floor: Floor) -> None:
    run = floor.paused(external("a"), external("b"))
    for looks in range(1, 9):
        for tool_call_id in ("a", "b"):
            floor.connection.zadd(keys.pool_due("shell"), {address(run.run_id, tool_call_id).due_member: 1})
        assert set(floor.sweep_calls()) == ({"pushed"} if looks % 4 == 0 else {"backlog"})
    assert floor.connection.llen("tools.shell") == 2 + 4
