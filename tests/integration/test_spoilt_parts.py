"""What a pool may write into its own keys stops neither the runs that wait for it nor the repair of others."""

from __future__ import annotations

import json

import pytest
import redis

from agent_core.run import RunStatus
from agent_core.tools.execution import Confirmation
from queues import keys
from queues.repairs import Repairs
from queues.run_store import RedisRunStore
from tests.support.queue_floor import DONE, TIMING, Floor, address, at_step_one, claimed, external, parts
from workers.sweep import Sweep

pytestmark = pytest.mark.redis


def spoil(floor: Floor, run_id: str) -> None:
    part, events = keys.part("shell", run_id, 1), keys.part_events("shell", run_id)
    floor.connection.delete(part, events)
    floor.connection.set(part, "no hash")
    floor.connection.rpush(events, "no stream")


def test_a_run_whose_part_a_pool_has_spoilt_can_still_be_ended(floor: Floor) -> None:
    waiting = floor.paused(external("a")).run_id
    held = floor.dispatched(external("a")).run_id
    spoil(floor, waiting)
    spoil(floor, held)
    assert floor.claims.claim(waiting, owner="early") == "waiting"
    assert floor.cancel(waiting) == "ended"
    assert floor.cancel(held) == "requested"


def test_a_pool_cannot_take_the_place_of_its_next_part(floor: Floor) -> None:
    run = claimed(floor.claims, floor.submitted())
    spoil(floor, run.run_id)
    snapshot = at_step_one(run.snapshot, [external("a")])
    floor.claims.checkpoint(run, snapshot, parts(run, [external("a")]), [])
    assert floor.executing(run.run_id, "a").attempt == 1


@pytest.mark.parametrize("awaited", [True, False])
def test_a_pool_buries_no_call_that_its_run_does_not_wait_for(floor: Floor, awaited: bool) -> None:
    run = floor.paused(external("a"))
    call = address(run.run_id, "a" if awaited else "forged")
    request = json.dumps({"on_lost": "retry", "max_attempts": 9})
    died = {"state": "executing", "lease": "1", "attempts": "3", "deaths": "2", "request": request}
    for name, value in died.items():
        floor.connection.hset(call.part, f"{name}:{call.tool_call_id}", value)
    floor.connection.zadd(call.due, {call.due_member: 1})
    before = floor.connection.zscore(keys.DEADLINES, run.run_id)

    found = Repairs(floor.connection, timing=TIMING).look_at_call("shell", call.due_member)

    assert found == ("buried" if awaited else "gone")
    assert floor.connection.zcard(keys.DEAD) == (1 if awaited else 0)
    assert (floor.connection.zscore(keys.DEADLINES, run.run_id) == before) is not awaited


def test_a_pool_that_spoils_its_due_set_keeps_no_other_from_repair(floor: Floor) -> None:
    run = floor.paused(external("a", "python"))
    floor.connection.delete("tools.python")
    floor.connection.set(keys.pool_due("shell"), "no sorted set")
    floor.connection.zadd(keys.pool_due("python"), {address(run.run_id, "a", "python").due_member: 1})
    sweep = Sweep(Repairs(floor.connection, timing=TIMING), pools=["shell", "python"])
    assert sweep.once() == {"pushed": 1}


@pytest.mark.parametrize("approvals", [{}, {"shell": None}])
def test_a_pool_that_spoils_its_due_set_keeps_no_run_from_its_next_part(
    floor: Floor, approvals: dict[str, None]
) -> None:
    run = claimed(floor.claims, floor.submitted())
    call = external("a").model_copy(update={"requires_approval": bool(approvals)})
    floor.connection.set(keys.pool_due("shell"), "no sorted set")
    snapshot = at_step_one(run.snapshot, [call])
    floor.pause(floor.claims.checkpoint(run, snapshot, parts(run, [call], approvals=approvals), []))
    if approvals:
        assert floor.runs.answer(floor.runs.load(run.run_id), "a", Confirmation(confirmed=True)) == "settled"
    assert floor.connection.zscore(keys.pool_due("shell"), address(run.run_id, "a").due_member) is not None
    assert floor.executing(run.run_id, "a").attempt == 1


def test_a_request_is_that_of_its_address_whatever_its_part_says(floor: Floor) -> None:
    run = floor.paused(external("a"))
    forged = {"run_id": "run_of_another", "tool_name": "other", "tool_args": {"key": "y"}}
    floor.connection.hset(keys.part("shell", run.run_id, 1), "request:a", json.dumps(forged))
    request = floor.executing(run.run_id, "a").request
    assert (request.idempotency_key, request.tool_name) == (f"{run.run_id}:1:a", "look_up")


@pytest.mark.parametrize("field", ["queue_until:a", "looks:a"])
@pytest.mark.parametrize("junk", ["junk", "-1", "1e308", "99999999999999999999", ""])
def test_a_glance_leaves_calls_with_junk_to_a_look_of_their_own(floor: Floor, field: str, junk: str) -> None:
    spoilt, other = floor.paused(external("a")).run_id, floor.paused(external("a")).run_id
    floor.connection.hset(keys.part("shell", spoilt, 1), field, junk)
    floor.become_due()
    assert floor.repairs.glance_at("shell", limit=10) in (1, 2)
    assert other not in str(floor.repairs.due_calls("shell", limit=10))


def test_what_a_glance_cannot_bear_keeps_nothing_else_from_being_looked_at(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> int:
        raise redis.ResponseError("junk")

    floor.paused(external("a"))
    floor.connection.delete("tools.shell")
    floor.become_due()
    monkeypatch.setattr(floor.repairs, "glance_at", refused)
    assert Sweep(floor.repairs, pools=["shell"]).once() == {"pushed": 1}


def test_a_run_that_a_plain_process_carries_on_is_none_of_the_queues(floor: Floor) -> None:
    run_id = floor.paused(external("a")).run_id
    assert floor.calls.settle(floor.executing(run_id, "a"), DONE) == "last"
    store = RedisRunStore.on(floor.connection, timing=TIMING)
    snapshot = store.load(run_id)
    assert snapshot is not None
    snapshot.output.status = RunStatus.RUNNING
    store.save(snapshot, expected_version=snapshot.version)
    assert floor.claims.claim(run_id, owner="agents@test") == "held"
    assert floor.repairs.look_at_run(run_id) == "held"
    floor.become_due()
    assert Sweep(floor.repairs, pools=["shell"]).once() == {}


@pytest.mark.parametrize("junk", ["no JSON", "[]", "3", '["run_x", 1, "a", "b", "c"]', '["x", {}, 1, 2]'])
def test_a_glance_passes_over_junk(floor: Floor, junk: str) -> None:
    spoil(floor, floor.paused(external("a")).run_id)
    floor.connection.zadd(keys.pool_due("shell"), {junk: 1})
    floor.become_due()
    floor.paused(external("a"))
    assert floor.repairs.glance_at("shell", limit=10) == 0
    assert len(floor.repairs.due_calls("shell", limit=10)) == 2
