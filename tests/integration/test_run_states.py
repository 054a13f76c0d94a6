"""How many runs are in each status is counted by the scripts that change it, and once, however often one is sent."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from agent_core.events import RunCompleted
from agent_core.run import RunStatus
from agent_core.tools.execution import Confirmation
from queues import keys
from queues.claims import ClaimedRun, Claims
from queues.errors import RunNotFailedError
from queues.replies import newest
from queues.run_store import RedisRunStore
from queues.scripts import Reply, Scripts
from tests.support.queue_floor import EXPIRED, TIMING, Floor, at_step_one, claimed, external, parts, pending_snapshot

pytestmark = pytest.mark.redis


class _Twice(Scripts):
    """Whose every command is sent again, as if the first answer had been lost on the way."""

    def run(self, name: str, keys: list[str], arguments: list[Any]) -> Reply:
        super().run(name, keys, arguments)
        return super().run(name, keys, arguments)


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch, redis_connection: redis.Redis) -> Floor:
    """The stores of the empty server, by which each script is sent twice."""
    for module in ("runs", "claims", "endings", "approvals"):
        monkeypatch.setattr(f"queues.{module}.Scripts", _Twice)
    return Floor(redis_connection)


def states(connection: redis.Redis) -> dict[str, int]:
    told: Any = connection.hgetall(keys.STATES)
    return {name: int(count) for name, count in told.items() if count != "0"}


def finish(claims: Claims, run: ClaimedRun) -> None:
    run.snapshot.output.status = RunStatus.COMPLETED
    claims.finish(run, run.snapshot, [RunCompleted(run_id=run.run_id, agent_name="ops")])


def test_a_write_whose_answer_was_lost_counts_once(doubled: Floor) -> None:
    run_id = doubled.submitted()
    assert states(doubled.connection) == {"submitted": 1, "PENDING": 1}
    run = claimed(doubled.claims, run_id)
    assert states(doubled.connection) == {"submitted": 1, "RUNNING": 1}
    assert doubled.claims.release(run) is False  # the second one finds it gone
    assert states(doubled.connection) == {"submitted": 1, "PENDING": 1}
    doubled.pause(claimed(doubled.claims, run_id))
    assert states(doubled.connection) == {"submitted": 1, "PAUSED": 1}
    finish(doubled.claims, claimed(doubled.claims, run_id))
    assert states(doubled.connection) == {"submitted": 1, "COMPLETED": 1}


def test_an_end_from_outside_and_a_retry_count_once(doubled: Floor) -> None:
    failed, cancelled = doubled.submitted(), doubled.submitted(deadline_seconds=60)
    assert doubled.cancel(cancelled) == "finished"
    run = claimed(doubled.claims, failed)
    run.snapshot.output.status = RunStatus.ERROR
    doubled.claims.finish(run, run.snapshot, [])
    assert states(doubled.connection) == {"submitted": 2, "ERROR": 1, "CANCELLED": 1}
    with pytest.raises(RunNotFailedError):  # the second one finds it pending
        doubled.runs.retry(doubled.runs.load(failed))
    assert states(doubled.connection) == {"submitted": 2, "PENDING": 1, "ERROR": 1, "CANCELLED": 1}
    finish(doubled.claims, claimed(doubled.claims, failed))
    assert states(doubled.connection) == {"submitted": 2, "ERROR": 1, "CANCELLED": 1, "COMPLETED": 1}


def test_a_run_that_is_parked_or_taken_over_is_where_it_is(floor: Floor) -> None:
    run = claimed(floor.claims, floor.submitted())
    floor.claims.park(run.run_id, "nobody has its agent", run=run)
    assert states(floor.connection) == {"submitted": 1, "PENDING": 1}
    dying = Claims(floor.connection, timing=EXPIRED)
    claimed(dying, run.run_id)
    claimed(dying, run.run_id)
    assert states(floor.connection) == {"submitted": 1, "RUNNING": 1}


def test_runs_of_plain_processes_count_as_well(floor: Floor) -> None:
    store, snapshot = RedisRunStore.on(floor.connection, timing=TIMING), pending_snapshot()
    for status in (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.PAUSED, RunStatus.RUNNING):
        snapshot.output.status = status
        snapshot = store.save(snapshot, expected_version=snapshot.version)
        assert states(floor.connection) == {"submitted": 1, status.value: 1}
    snapshot.output.status = RunStatus.COMPLETED
    for _ in range(2):  # it may be saved again after its end, and has one end all the same
        snapshot = store.save(snapshot, expected_version=snapshot.version)
        assert states(floor.connection) == {"submitted": 1, "COMPLETED": 1}


def test_runs_from_before_there_was_a_count_take_nothing_from_others(floor: Floor) -> None:
    old = [floor.submitted() for _ in range(3)]
    floor.connection.delete(keys.STATES)
    for run_id in old:
        claimed(floor.claims, run_id)
    assert states(floor.connection) == {"RUNNING": 3}
    floor.submitted()
    assert states(floor.connection) == {"submitted": 1, "PENDING": 1, "RUNNING": 3}


def test_once_all_have_ended_the_sweep_puts_a_wrong_count_right(floor: Floor) -> None:
    """Workers of two releases side by side, of which one does not count."""
    run_id = floor.submitted()
    floor.connection.hset(keys.STATES, mapping={"PENDING": 7, "PAUSED": 3})
    floor.repairs.trim(limit=10)
    assert states(floor.connection) == {"submitted": 1, "PENDING": 7, "PAUSED": 3}
    floor.cancel(run_id)
    floor.repairs.trim(limit=10)
    assert states(floor.connection) == {"submitted": 1, "CANCELLED": 1}


def test_what_people_refuse_and_what_nobody_approves_is_counted_once(doubled: Floor) -> None:
    calls = [external(name).model_copy(update={"requires_approval": True}) for name in ("a", "b", "c")]
    run = claimed(doubled.claims, doubled.submitted())
    handed_out = parts(run, calls, approvals={"shell": 1000})
    doubled.pause(doubled.claims.checkpoint(run, at_step_one(run.snapshot, calls), handed_out, []))
    stored = doubled.runs.load(run.run_id)
    assert doubled.runs.answer(stored, "a", Confirmation(confirmed=False)) == "settled"
    assert doubled.runs.answer(stored, "b", Confirmation(confirmed=True)) == "settled"
    (member,) = newest(doubled.connection, keys.UNAPPROVED, 5)
    doubled.connection.zadd(keys.UNAPPROVED, {member: 1})
    assert doubled.repairs.approvals.look_at(member) == "gone"  # the second look
    counted = states(doubled.connection)
    assert (counted["denied:shell"], counted["expired:shell"]) == (1, 1)
