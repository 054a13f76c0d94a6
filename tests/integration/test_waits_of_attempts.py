"""How long a call waited in its queue is told of each attempt for itself, without the one before and its backoff."""

from __future__ import annotations

import pytest

from agent_core.tools.execution import CallOutcome, CallResult
from queues import keys
from queues.calls import ClaimedCall
from tests.support.queue_floor import Floor, address, external

pytestmark = pytest.mark.redis

FAILED = CallResult(outcome=CallOutcome.FAILED, content="no")
LONG_MS = 5_000_000


def age(floor: Floor, run_id: str, *names: str) -> None:
    """Make it look as if so much of this had been some hours earlier."""
    for name in names:
        floor.connection.hincrby(keys.part("shell", run_id, 1), f"{name}:a", -LONG_MS)


def waited_seconds(floor: Floor, run_id: str) -> float:
    call = floor.calls.claim(address(run_id, "a"))
    assert isinstance(call, ClaimedCall), call
    return call.queue_wait_seconds


def test_an_attempt_after_a_failed_one_waits_from_the_end_of_its_backoff(floor: Floor) -> None:
    run_id = floor.paused(external("a"), max_attempts=2).run_id
    age(floor, run_id, "queued")
    call = floor.executing(run_id, "a")
    assert call.queue_wait_seconds >= 5000
    assert floor.calls.settle(call, FAILED, retry_after_seconds=7000) == "retry"
    age(floor, run_id, "queued", "not_before")
    age(floor, run_id, "queued", "not_before")
    # Ten thousand seconds after it failed, of which it backed off for seven thousand.
    assert 3000 <= waited_seconds(floor, run_id) < 5000


def test_an_attempt_after_a_death_waits_from_when_that_was_found(floor: Floor) -> None:
    run_id = floor.paused(external("a"), on_lost="retry", max_attempts=2).run_id
    age(floor, run_id, "queued")
    floor.executing(run_id, "a", floor.dying)
    floor.become_due()
    assert floor.sweep_calls() == ["pushed"]
    assert waited_seconds(floor, run_id) < 5000


def test_a_call_that_had_not_begun_has_waited_all_the_while(floor: Floor) -> None:
    run_id = floor.paused(external("a")).run_id
    age(floor, run_id, "queued")
    assert not isinstance(floor.dying.claim(address(run_id, "a")), str)
    floor.become_due()
    assert floor.sweep_calls() == ["pushed"]
    assert waited_seconds(floor, run_id) >= 5000
