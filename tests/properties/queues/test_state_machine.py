"""The scripts under any order of events: claims, answers, deaths, sweeps, cancellations, copies and late words.

A small model says what each word must be; after every step the store is looked at for what may never be: a run that
nobody will look at again, two answers to one call, a finished run that is still due.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from agent_core.cancelling import cancel
from agent_core.errors import StaleRunError
from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome, CallResult, ToolExecution, parse_answer
from queues import keys
from queues.calls import CallAddress, ClaimedCall
from queues.claims import ClaimedRun
from queues.errors import RunNotFailedError
from queues.protocol import continuation_member, due_member
from tests.support.queue_floor import Floor, external, function, parts, pending_snapshot

pytestmark = pytest.mark.redis

POOLS = {"a": "shell", "b": "python", "c": "shell", "p": None}
IDS = st.sampled_from(sorted(POOLS))
POOL_IDS = st.sampled_from([call_id for call_id, pool in POOLS.items() if pool])
BATCHES = st.sets(IDS, min_size=1)
Place = tuple[int, str]


class QueueMachine(RuleBasedStateMachine):
    """One run, its holders living and dead, and the workers of its calls."""

    connection: ClassVar[redis.Redis]

    def __init__(self) -> None:
        super().__init__()
        self.connection.flushall()
        self.floor = Floor(self.connection)
        self.begin_anew()

    def begin_anew(self) -> None:
        self.run_id = self.floor.runs.create(pending_snapshot(), agent="ops", lane="normal")
        self.holder: ClaimedRun | None = None
        self.lease_is_over = False
        self.is_poisonous = False
        self.outages = 0
        self.former: list[ClaimedRun] = []
        self.workers: dict[Place, ClaimedCall] = {}
        self.former_workers: list[tuple[Place, ClaimedCall]] = []
        self.answers: dict[Place, Any] = {}

    @precondition(lambda self: self.is_finished)
    @rule()
    def another_run_is_submitted(self) -> None:
        self.begin_anew()

    @property
    def is_far(self) -> bool:
        """Whether something has happened in the run; else it would mostly be over at once."""
        return len(self.former_workers) + len(self.answers) > 2

    @property
    def can_go_on(self) -> bool:
        status = self.status
        if status == "RUNNING":
            return self.lease_is_over and not self.is_poisonous
        return status == "PENDING" or (status == "PAUSED" and not self.unanswered)

    @property
    def waits_for_a_person(self) -> bool:
        return any(call_id == "p" for _, call_id in self.unanswered)

    # What the store says

    @property
    def status(self) -> str:
        return str(self.connection.hget(keys.run(self.run_id), "status"))

    @property
    def is_finished(self) -> bool:
        return RunStatus(self.status).is_finished

    @property
    def waiting(self) -> list[tuple[str, list[str]]]:
        stored: Any = self.connection.hget(keys.run(self.run_id), "waiting")
        return [(part["key"], part["calls"]) for part in json.loads(stored or "[]")]

    @property
    def unanswered(self) -> list[Place]:
        return [
            (int(part.rpartition(":")[2]), call_id)
            for part, calls in self.waiting
            for call_id in calls
            if not self.connection.hexists(part, f"answer:{call_id}")
        ]

    def address(self, place: Place) -> CallAddress:
        step, call_id = place
        return CallAddress(str(POOLS[call_id]), self.run_id, step, call_id, "look_up")

    def part(self, place: Place) -> str:
        step, call_id = place
        pool = POOLS[call_id]
        return keys.people(self.run_id, step) if pool is None else keys.part(pool, self.run_id, step)

    def lose_holder(self) -> None:
        if self.holder is not None:
            self.former.append(self.holder)
        self.holder = None

    # Agent workers

    @precondition(lambda self: self.can_go_on or self.is_far)
    @rule()
    def claim(self) -> None:
        status, ready = self.status, not self.unanswered
        claimed = self.floor.claims.claim(self.run_id, owner="agents@test")
        if self.is_finished:
            assert claimed == "finished"
        elif status == "PAUSED" and not ready:
            assert claimed == "waiting"
        elif status == "RUNNING" and not self.lease_is_over:
            assert claimed == "held"
        elif status == "RUNNING":
            assert isinstance(claimed, ClaimedRun) or claimed == "poisonous"
            self.is_poisonous = claimed == "poisonous"
        else:
            assert isinstance(claimed, ClaimedRun), claimed
        if isinstance(claimed, ClaimedRun):
            self.lose_holder()
            self.holder, self.lease_is_over = claimed, False
            pending = claimed.snapshot.pending if ready and self.waiting else []
            expected = {call.tool_call_id: self.answers[call.step, call.tool_call_id] for call in pending}
            assert claimed.answers == expected

    def calls_of_next_batch(self, ids: set[str]) -> list[ToolExecution]:
        assert self.holder is not None
        step = self.holder.snapshot.step
        return [external(call_id, POOLS[call_id]).model_copy(update={"step": step}) for call_id in sorted(ids)]

    @precondition(lambda self: self.holder is not None and not self.holder.snapshot.pending)
    @rule(ids=BATCHES, pauses=st.booleans(), may_repeat=st.booleans())
    def hand_out(self, ids: set[str], pauses: bool, may_repeat: bool) -> None:
        assert self.holder is not None
        run = self.holder
        run.snapshot.step = max(1, run.snapshot.step)
        calls = self.calls_of_next_batch(ids)
        run.snapshot.phase, run.snapshot.output.status = "tools", RunStatus.RUNNING
        run.snapshot.output.tools.extend(calls)
        tool = function(on_lost="retry", max_attempts=9) if may_repeat else function()
        if pauses:
            run.snapshot.output.status = RunStatus.PAUSED
            self.paused(self.floor.claims.pause(run, run.snapshot, parts(run, calls, tool), []))
        else:
            self.holder = self.floor.claims.checkpoint(run, run.snapshot, parts(run, calls, tool), [])

    @precondition(lambda self: self.holder is not None and self.holder.snapshot.pending and not self.holder.answers)
    @rule()
    def pause(self) -> None:
        assert self.holder is not None
        self.holder.snapshot.output.status = RunStatus.PAUSED
        self.paused(self.floor.claims.pause(self.holder, self.holder.snapshot, [], []))

    def paused(self, run: ClaimedRun) -> None:
        if run.cancel_reason:
            assert self.status == "RUNNING"
            cancel(run.snapshot)
            self.floor.claims.finish(run, run.snapshot, [])
            assert self.status == "CANCELLED"
        self.lose_holder()

    @precondition(lambda self: self.holder is not None and self.holder.answers)
    @rule()
    def close_step(self) -> None:
        assert self.holder is not None
        snapshot = self.holder.snapshot
        for call in snapshot.pending:
            answer = self.holder.answers[call.tool_call_id]
            call.settle(answer if isinstance(answer, CallResult) else CallResult(content="agreed"))
        snapshot.step, snapshot.phase, snapshot.output.status = snapshot.step + 1, "model", RunStatus.RUNNING
        self.holder = replace(self.floor.claims.checkpoint(self.holder, snapshot, [], []), answers={})

    @precondition(lambda self: self.holder is not None and self.is_far)
    @rule(ok=st.booleans())
    def finish(self, ok: bool) -> None:
        assert self.holder is not None
        done = ok and not self.holder.snapshot.pending
        self.holder.snapshot.output.status = RunStatus.COMPLETED if done else RunStatus.ERROR
        self.floor.claims.finish(self.holder, self.holder.snapshot, [])
        self.lose_holder()

    @precondition(lambda self: self.former)
    @rule(data=st.data())
    def a_former_holder_writes(self, data: st.DataObject) -> None:
        # Each late word comes once, or there would be little else.
        run = self.former.pop(data.draw(st.integers(0, len(self.former) - 1)))
        before = self.connection.hgetall(keys.run(self.run_id))
        write = data.draw(st.sampled_from(("checkpoint", "pause", "finish")))
        with suppress(StaleRunError):
            if write == "finish":
                self.floor.claims.finish(run, run.snapshot, [])
            else:
                getattr(self.floor.claims, write)(run, run.snapshot, [], [])
            # Nothing but the repeat of a write whose answer was lost.
            assert (before["epoch"], before["snapshot"]) == (run.epoch, run.snapshot.to_json())
        assert self.floor.claims.renew(run) == "lost"
        assert self.connection.hgetall(keys.run(self.run_id)) == before

    # Tool workers and people

    def known(self) -> list[Place]:
        free = [place for place in self.unanswered if POOLS[place[1]] is not None and place not in self.workers]
        return free or sorted({*self.answers, *self.workers})

    @precondition(lambda self: self.known())
    @rule(data=st.data(), begins=st.booleans())
    def a_worker_claims_a_call(self, data: st.DataObject, begins: bool) -> None:
        place = data.draw(st.sampled_from(self.known()))
        if POOLS[place[1]] is None:
            return
        claimed = self.floor.calls.claim(self.address(place))
        if place in self.answers:
            assert claimed == "settled"
        if not isinstance(claimed, ClaimedCall):
            return
        assert place not in self.workers, "two live holders of one call"
        assert place not in self.answers
        if begins:
            begun = self.floor.calls.begin(claimed, sandbox_level="ns")
            assert isinstance(begun, ClaimedCall)
            claimed = begun
        self.workers[place] = claimed

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), outcome=st.sampled_from((CallOutcome.SUCCEEDED, CallOutcome.FAILED)), again=st.booleans())
    def a_worker_settles(self, data: st.DataObject, outcome: CallOutcome, again: bool) -> None:
        place = data.draw(st.sampled_from(sorted(self.workers)))
        call = self.workers.pop(place)
        result = CallResult(outcome=outcome, content=f"by epoch {call.epoch}")
        verdict = self.floor.calls.settle(call, result, retry_after_seconds=30 if again else 0)
        if verdict == "retry":
            assert again
        else:
            siblings = [other for other in self.unanswered if self.part(other) == self.part(place)]
            assert verdict == ("settled" if siblings else "last") and not again
            assert place not in self.answers
            self.answers[place] = result
        self.former_workers.append((place, call))

    @precondition(lambda self: self.former_workers)
    @rule(data=st.data())
    def a_former_worker_settles(self, data: st.DataObject) -> None:
        place, call = self.former_workers.pop(data.draw(st.integers(0, len(self.former_workers) - 1)))
        before = self.connection.hget(self.part(place), "outstanding")
        assert self.floor.calls.settle(call, CallResult(content="too late")) in ("already", "stale", "missing")
        assert self.floor.calls.renew(call) == "lost"
        assert self.connection.hget(self.part(place), "outstanding") == before

    @precondition(lambda self: not self.is_finished and (self.waits_for_a_person or self.is_far))
    @rule(agrees=st.booleans())
    def a_person_answers(self, agrees: bool) -> None:
        stored = self.floor.runs.load(self.run_id)
        place = (stored.snapshot.step, "p")
        answer = CallResult(content=f"agrees: {agrees}")
        word = self.floor.runs.answer(stored, "p", answer)
        if word in ("settled", "last"):
            assert place not in self.answers
            self.answers[place] = answer
        else:
            assert word == ("already" if place in self.answers else "missing")

    # Time, loss and repair

    @precondition(lambda self: self.workers or (self.holder is not None and not self.lease_is_over))
    @precondition(lambda self: self.outages < 2 or self.is_far)
    @rule()
    def time_passes_and_nobody_renews(self) -> None:
        self.outages += 1
        if self.connection.hexists(keys.run(self.run_id), "lease_until"):
            self.connection.hset(keys.run(self.run_id), "lease_until", 0)
            self.lease_is_over = True
        for place in self.workers:
            self.connection.hset(self.part(place), f"lease:{place[1]}", 0)
        self.become_due()

    @precondition(lambda self: self.waiting or self.lease_is_over)
    @rule()
    def everything_is_looked_at(self) -> None:
        self.become_due()
        before = set(self.unanswered)
        for pool in ("shell", "python"):
            self.floor.repairs.postpone_backlog(pool, limit=50)
            for entry in self.floor.repairs.due_calls(pool, limit=50):
                self.floor.repairs.look_at_call(pool, entry)
        self.floor.sweep_runs()
        for place in before:
            if answer := self.connection.hget(self.part(place), f"answer:{place[1]}"):
                self.answers[place] = parse_answer(str(answer))
                assert self.answers[place].outcome is CallOutcome.LOST
        for place in list(self.workers):
            state = self.connection.hget(self.part(place), f"state:{place[1]}")
            if state in ("queued", "settled", "buried"):
                self.former_workers.append((place, self.workers.pop(place)))
        for letter in self.floor.letters.latest(limit=10):
            if letter.kind == "call":
                self.floor.letters.requeue_call(letter)
        if self.is_finished:
            self.lose_holder()

    def become_due(self) -> None:
        for due in (keys.DUE, keys.pool_due("shell"), keys.pool_due("python")):
            for member in self.members(due):
                self.connection.zadd(due, {member: 1})

    @precondition(lambda self: self.connection.exists("tools.shell", "tools.python"))
    @rule()
    def all_messages_are_lost(self) -> None:
        self.connection.delete("agents", "tools.shell", "tools.python")

    # Ends

    @precondition(lambda self: self.is_far or (self.holder is not None and self.holder.snapshot.pending))
    @rule()
    def a_producer_cancels(self) -> None:
        held = self.status == "RUNNING" and not self.lease_is_over
        finished = self.is_finished
        word = self.floor.cancel(self.run_id)
        assert word == ("finished" if finished else "requested" if held else "ended")
        if word == "ended":
            self.lose_holder()
        if word != "finished":
            self.stop_workers()

    def stop_workers(self) -> None:
        """What they were told at their next heartbeat."""
        for place in list(self.workers):
            call = self.workers.pop(place)
            assert self.floor.calls.renew(call) in ("cancelled", "lost")
            result = CallResult(outcome=CallOutcome.CANCELLED, content="cancelled")
            if self.floor.calls.settle(call, result) in ("settled", "last"):
                self.answers[place] = result
            self.former_workers.append((place, call))

    @precondition(lambda self: self.is_far)
    @rule()
    def somebody_retries(self) -> None:
        failed = self.status == "ERROR"
        if failed:
            self.stop_workers()
        try:
            self.floor.runs.retry(self.floor.runs.load(self.run_id))
        except RunNotFailedError:
            assert not failed
            return
        assert failed
        claimed = self.floor.claims.claim(self.run_id, owner="agents@test")
        assert isinstance(claimed, ClaimedRun)
        self.lose_holder()
        self.holder, self.lease_is_over = claimed, False
        pending = claimed.snapshot.pending
        if pending:  # as the loop does: what is not answered is handed out again
            claimed.snapshot.output.status = RunStatus.PAUSED
            self.paused(self.floor.claims.pause(claimed, claimed.snapshot, parts(claimed, pending), []))

    # What holds at any time

    def members(self, due: str) -> list[str]:
        found: Any = self.connection.zrange(due, 0, -1)
        return list(found)

    @invariant()
    def a_finished_run_is_due_for_nothing(self) -> None:
        if self.is_finished:
            assert self.run_id not in self.members(keys.DUE) + self.members(keys.DEADLINES)
            assert not self.waiting

    @invariant()
    def somebody_will_look_at_a_run_that_can_go_on(self) -> None:
        status, due = self.status, self.members(keys.DUE)
        if status in ("PENDING", "RUNNING"):
            assert self.run_id in due
        elif status == "PAUSED" and not self.unanswered:
            step = int(self.floor.runs.load(self.run_id).snapshot.step)
            entry = continuation_member(self.run_id, step)
            assert self.run_id in due or any(entry in self.members(keys.pool_due(pool)) for pool in ("shell", "python"))

    @invariant()
    def somebody_will_look_at_each_call_that_waits(self) -> None:
        if self.is_finished or self.connection.hexists(keys.run(self.run_id), "cancel_reason"):
            return
        for place in self.unanswered:
            step, call_id = place
            if (pool := POOLS[call_id]) is not None:
                assert due_member(self.run_id, step, call_id, "look_up") in self.members(keys.pool_due(pool)), place

    @invariant()
    def the_first_answer_stands(self) -> None:
        for place, answer in self.answers.items():
            stored = self.connection.hget(self.part(place), f"answer:{place[1]}")
            assert stored is not None and parse_answer(str(stored)) == answer

    @invariant()
    def each_part_counts_its_open_calls(self) -> None:
        unanswered = self.unanswered
        for part, calls in self.waiting:
            step = int(part.rpartition(":")[2])
            left = sum((step, call_id) in unanswered for call_id in calls)
            assert self.connection.hget(part, "outstanding") == str(left)


@pytest.fixture
def machine(redis_connection: redis.Redis) -> Iterator[type[QueueMachine]]:
    QueueMachine.connection = redis_connection
    yield QueueMachine


def test_the_scripts_keep_their_word_in_any_order_of_events(machine: type[QueueMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
