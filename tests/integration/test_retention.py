"""Nothing of a run is left once its time is over, however it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues import keys
from queues.calls import CallAddress, Calls, ClaimedCall
from queues.repairs import Repairs
from queues.timing import Timing
from queues.topology import AGENTS_QUEUE
from tests.support.queue_floor import DONE, Floor
from tests.support.waiting import wait_until
from workers.bench.pausing import Pausing
from workers.sweep import Sweep

pytestmark = pytest.mark.redis


BRIEF = Timing(lease_seconds=30, repush_seconds=30, retention_seconds=0.05, answered_seconds=0.05)


def complete(floor: Floor) -> str:
    pausing = Pausing(floor.connection, timing=BRIEF, pauses=2)
    run_id = pausing.pause_one(pool="shell")
    calls = Calls(floor.connection, timing=BRIEF, worker="w")
    call_id = pausing.runs.load(run_id).snapshot.pending[0].tool_call_id
    claim = calls.claim(CallAddress("shell", run_id, 1, call_id, "ask_colleague"))
    assert isinstance(claim, ClaimedCall)
    begun = calls.begin(claim, sandbox_level="ns")
    assert isinstance(begun, ClaimedCall)
    assert calls.settle(begun, DONE) == "last"
    pausing.carry_on(run_id)
    stored = pausing.runs.load(run_id)
    pausing.runs.answer(stored, stored.snapshot.pending[0].tool_call_id, DONE)
    assert pausing.carry_on(run_id).status is RunStatus.COMPLETED
    return run_id


def cancelled_in_the_queue(floor: Floor) -> str:
    pausing = Pausing(floor.connection, timing=BRIEF)
    run_id = pausing.pause_one(pool="shell")
    assert pausing.runs.cancel(pausing.runs.load(run_id), reason="") == "ended"
    return run_id


def expired_in_the_queue(floor: Floor) -> str:
    """Its call was never begun, so nobody but the sweep has told of it."""
    pausing = Pausing(floor.connection, timing=BRIEF)
    run_id = pausing.pause_one(pool="shell")
    call_id = pausing.runs.load(run_id).snapshot.pending[0].tool_call_id
    floor.connection.hset(keys.part("shell", run_id, 1), f"queue_until:{call_id}", 1)
    for entry in floor.due_entries():
        assert Repairs(floor.connection, timing=BRIEF).look_at_call("shell", entry) == "expired"
    done = pausing.carry_on(run_id)
    assert done.output.tools[0].outcome is CallOutcome.EXPIRED
    return run_id


def buried(floor: Floor) -> str:
    run_id = floor.submitted()
    floor.connection.hset(keys.run(run_id), mapping={"status": "RUNNING", "lease_until": 0, "deaths": 2})
    assert Repairs(floor.connection, timing=BRIEF).look_at_run(run_id) == "buried"
    return run_id


@pytest.mark.parametrize("life", [complete, cancelled_in_the_queue, expired_in_the_queue, buried])
def test_nothing_of_a_run_is_left_after_its_retention(floor: Floor, life: Callable[[Floor], str]) -> None:
    run_id = life(floor)
    floor.connection.delete(AGENTS_QUEUE, "tools.shell")  # what workers take from the queues, and find ended
    wait_until(lambda: not floor.connection.exists(keys.run(run_id)), "the run is gone")
    floor.become_due()
    Sweep(Repairs(floor.connection, timing=BRIEF), pools=["shell"]).once()
    wait_until(
        lambda: mentions(floor.connection, run_id) == [], f"nothing is left: {mentions(floor.connection, run_id)}"
    )


def mentions(connection: redis.Redis, run_id: str) -> list[str]:
    """Every key that bears the run's id, or holds it."""
    held: dict[str, Callable[[str], Any]] = {
        "hash": connection.hgetall,
        "zset": lambda key: connection.zrange(key, 0, -1),
        "list": lambda key: connection.lrange(key, 0, -1),
        "stream": connection.xrange,
        "string": connection.get,
        "none": lambda key: "",
    }
    return [
        key for key in connection.scan_iter() if run_id in key or run_id in str(held[str(connection.type(key))](key))
    ]
