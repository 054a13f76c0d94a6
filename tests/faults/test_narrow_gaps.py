"""Gaps of one instruction: a process dies, or a wish comes, exactly between two steps that belong together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis

from agent_core.events import RunCancelled, RunPaused
from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome, CallResult, ToolExecution
from queues import keys
from queues.calls import Calls
from queues.claims import ClaimedRun
from queues.journal import QueueJournal
from queues.leases import LeaseKeeper
from queues.parts import Routing
from queues.repairs import Repairs
from queues.run_store import RedisRunStore
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
    function,
    parts,
)
from workers.sweep import Sweep

pytestmark = [pytest.mark.redis, pytest.mark.fault]


class Killed(BaseException):
    """As kill -9: nothing handles it."""


@contextmanager
def dying_after(connection: redis.Redis, commands: int, *, answered: bool) -> Iterator[None]:
    """The process dies at its n-th command, before it is sent or before its answer is heard."""
    execute: Callable[..., Any] = connection.execute_command
    left = commands

    def dying(*words: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0 and not answered:
            raise Killed
        answer = execute(*words, **options)
        if left < 0:
            raise Killed
        return answer

    connection.execute_command = dying  # type: ignore[method-assign]
    try:
        yield
    finally:
        connection.execute_command = execute  # type: ignore[method-assign]


@contextmanager
def heard_the_second_time(connection: redis.Redis) -> Iterator[None]:
    """Each script's first answer is lost on the way, and the client sends it again, as redis-py does by itself."""
    execute: Callable[..., Any] = connection.execute_command

    def twice(*words: Any, **options: Any) -> Any:
        if words[0] == "EVALSHA":
            execute(*words, **options)
        return execute(*words, **options)

    connection.execute_command = twice  # type: ignore[method-assign]
    try:
        yield
    finally:
        connection.execute_command = execute  # type: ignore[method-assign]


def answered(floor: Floor) -> ClaimedRun:
    """A run whose only call is answered, and whose continuation was lost on the way."""
    run = floor.paused(external("a"))
    hasty = Calls(floor.connection, timing=EXPIRED, worker="w")
    assert hasty.settle(floor.executing(run.run_id, "a", hasty), DONE) == "last"
    floor.connection.delete(AGENTS_QUEUE)
    return run


def test_a_step_whose_answer_was_lost_counts_once(floor: Floor) -> None:
    run_id = floor.submitted()
    floor.connection.delete(AGENTS_QUEUE)
    with heard_the_second_time(floor.connection):
        run = claimed(floor.claims, run_id)
        assert run.epoch == "1"
        call = external("a")
        snapshot = at_step_one(run.snapshot, [call])
        snapshot.output.status = RunStatus.PAUSED
        floor.claims.pause(run, snapshot, parts(run, [call]), [RunPaused(run_id=run_id, agent_name="ops")])
        executing = floor.executing(run_id, "a")
        assert (executing.epoch, executing.attempt) == ("1", 1)
        assert floor.calls.settle(executing, DONE) == "settled"
        successor = claimed(floor.claims, run_id)
        assert (successor.epoch, successor.answers) == ("2", {"a": DONE})
        successor.snapshot.output.status = RunStatus.COMPLETED
        floor.claims.finish(successor, successor.snapshot, [])
    assert floor.continuations() == 1 and floor.connection.llen("tools.shell") == 1
    assert told(floor, run_id) == ["RunPaused"]
    assert floor.connection.hmget(keys.run(run_id), "status", "version", "deaths") == ["COMPLETED", "3", None]
    assert floor.connection.hget(keys.part("shell", run_id, 1), "refused") is None


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("commands", range(4))
def test_a_sweep_that_dies_over_a_lost_continuation_leaves_it_to_the_next(
    floor: Floor, commands: int, heard: bool
) -> None:
    run = answered(floor)
    (entry,) = floor.repairs.due_calls("shell", limit=10)
    dying = Repairs(floor.connection, timing=EXPIRED)
    with suppress(Killed), dying_after(floor.connection, commands, answered=heard):
        dying.look_at_call("shell", entry)
    floor.connection.delete(AGENTS_QUEUE)  # what it published is lost as well
    sweep = Sweep(Repairs(floor.connection, timing=EXPIRED), pools=["shell"])
    for _ in range(4):
        sweep.once()
    assert floor.continuations() >= 1
    assert claimed(floor.claims, run.run_id).answers == {"a": DONE}


def journal_of(floor: Floor, run: ClaimedRun) -> Iterator[QueueJournal]:
    keeper = LeaseKeeper(floor.connection, heartbeat_seconds=600)
    with keeper.holding(floor.claims.renewal(run)) as lease:
        yield QueueJournal(
            floor.claims,
            run,
            store=RedisRunStore.on(floor.connection, timing=TIMING),
            functions={"look_up": function()},
            routing=Routing(pools={"look_up": "shell"}, queue_seconds={}),
            lease=lease,
            task_id=run.run_id,
        )


def told(floor: Floor, run_id: str) -> list[str]:
    entries: Any = floor.connection.xrange(keys.events(run_id))
    return [json.loads(fields["event"])["event"] for _, fields in entries]


@pytest.mark.parametrize("pool", ["shell", None])
def test_a_run_that_was_cancelled_a_moment_ago_does_not_pause(floor: Floor, pool: str | None) -> None:
    run = claimed(floor.claims, floor.submitted())
    calls = [external("a", pool)]
    snapshot = at_step_one(run.snapshot, calls)
    snapshot.output.status = RunStatus.PAUSED
    assert floor.cancel(run.run_id) == "requested"  # its holder has not heard of it yet
    paused = RunPaused(run_id=run.run_id, agent_name="ops")
    for journal in journal_of(floor, run):
        saved = journal.save(snapshot, dispatch=calls, events=[paused])
        journal.tell(paused)
        assert saved.status is RunStatus.CANCELLED
        assert journal.run.snapshot.status is RunStatus.CANCELLED
    stored = floor.runs.load(run.run_id).snapshot
    assert (stored.status, stored.output.error) == (RunStatus.CANCELLED, "The run was cancelled: no longer wanted")
    assert stored.output.tools[0].outcome is CallOutcome.CANCELLED
    assert floor.connection.llen("tools.shell") == 0
    assert told(floor, run.run_id) == ["RunCancelled"]
    assert floor.connection.zrange(keys.DUE, 0, -1) == []


def test_a_run_whose_holder_died_over_its_cancellation_ends(floor: Floor) -> None:
    """Its calls are out, it is held for its inline calls, its end is asked for, its holder dies."""
    run = floor.dispatched(external("a"), ToolExecution(tool_call_id="b", tool_name="look_up", step=1))
    assert floor.cancel(run.run_id) == "requested"
    floor.connection.hset(keys.run(run.run_id), "lease_until", 0)
    successor = claimed(floor.claims, run.run_id)
    snapshot = successor.snapshot
    snapshot.output.tools[1].settle(CallResult(outcome=CallOutcome.LOST, content="lost"))
    snapshot.output.status = RunStatus.PAUSED
    for journal in journal_of(floor, successor):
        assert journal.save(snapshot).status is RunStatus.CANCELLED
    assert floor.runs.load(run.run_id).snapshot.status is RunStatus.CANCELLED
    assert floor.calls.claim(address(run.run_id, "a")) == "cancelled"


@pytest.mark.parametrize(("reason", "end"), [("no longer wanted", "RunCancelled"), ("expired", "RunError")])
def test_readers_of_a_held_run_are_told_one_end(floor: Floor, reason: str, end: str) -> None:
    run = claimed(floor.claims, floor.submitted())
    assert floor.runs.cancel(floor.runs.load(run.run_id), reason=reason) == "requested"
    run.snapshot.output.status = RunStatus.CANCELLED  # the loop knows only that it is to stop
    said = RunCancelled(run_id=run.run_id, agent_name="ops")
    for journal in journal_of(floor, run):
        journal.save(run.snapshot, events=[said])
        journal.tell(said)
    assert told(floor, run.run_id) == [end]


@pytest.mark.parametrize("junk", ["no JSON", "[]", '["run_x", 1, "a", "b", "c"]', "[1, {}]", '["run_x", "two"]'])
def test_what_cannot_be_looked_at_keeps_nothing_else_from_repair(floor: Floor, junk: str) -> None:
    floor.connection.zadd(keys.pool_due("shell"), {junk: 1})
    run = answered(floor)
    sweep = Sweep(Repairs(floor.connection, timing=EXPIRED), pools=["shell"])
    findings = sweep.once()
    assert floor.continuations() == 1, findings
    assert claimed(floor.claims, run.run_id).answers == {"a": DONE}


def test_a_part_that_a_pool_has_spoilt_keeps_nothing_else_from_repair(floor: Floor) -> None:
    spoilt = floor.paused(external("a"))
    part = keys.part("shell", spoilt.run_id, 1)
    floor.connection.hset(part, mapping={"state:a": "executing", "lease:a": 0, "request:a": "no JSON"})
    floor.connection.zadd(keys.pool_due("shell"), {address(spoilt.run_id, "a").due_member: 1})
    floor.connection.set(keys.run("run_wrong"), "no hash")
    floor.connection.zadd(keys.DUE, {"run_wrong": 1})
    floor.connection.zadd(keys.DEADLINES, {"run_wrong": 1})
    run = answered(floor)
    sweep = Sweep(Repairs(floor.connection, timing=EXPIRED), pools=["shell"])
    assert sweep.once()["put off"] == 3
    assert sweep.once().get("put off", 0) == 0  # not again at once
    assert claimed(floor.claims, run.run_id).answers == {"a": DONE}
