"""An answer that is tried again, sent once more: whoever never heard that it arrived hears so, and nothing changes."""

from __future__ import annotations

import pytest

from agent_core.tools.execution import CallOutcome, CallResult
from queues.repairs import Repairs
from tests.support.queue_floor import EXPIRED, Floor, external

pytestmark = pytest.mark.redis

FAILED = CallResult(outcome=CallOutcome.FAILED, content="no")


def test_it_is_answered_as_the_first_time_as_long_as_its_backoff_lasts(floor: Floor) -> None:
    run = floor.paused(external("a"), max_attempts=2)
    call = floor.executing(run.run_id, "a")
    told = [floor.calls.settle(call, FAILED, retry_after_seconds=600) for _ in range(3)]
    assert told == ["retry"] * 3
    events = floor.connection.xlen(call.address.events)
    assert floor.calls.settle(call, FAILED, retry_after_seconds=600) == "retry"
    assert floor.connection.xlen(call.address.events) == events
    assert floor.connection.hget(call.address.part, "refused") is None
    assert floor.calls.settle(call, FAILED) == "stale", "a last word is another answer"
    floor.become_due()
    assert floor.sweep_calls() == ["pushed"]
    assert floor.calls.settle(call, FAILED, retry_after_seconds=600) == "stale", "the next attempt is on its way"


def test_one_that_comes_after_its_worker_was_given_up_is_refused(floor: Floor) -> None:
    run = floor.paused(external("a"), on_lost="retry", max_attempts=9)
    call = floor.executing(run.run_id, "a", floor.dying)
    floor.become_due()
    assert floor.sweep_calls() == ["pushed"]
    assert floor.calls.settle(call, FAILED, retry_after_seconds=600) == "stale"


def test_of_several_sweeps_one_says_that_it_ended_a_run(floor: Floor) -> None:
    run_id = floor.submitted(deadline_seconds=0.001)
    repairs = Repairs(floor.connection, timing=EXPIRED)
    assert [repairs.expire(run_id) for _ in range(3)] == ["expired", "gone", "gone"]
