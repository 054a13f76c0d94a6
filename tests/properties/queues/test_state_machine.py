"""The scripts under any order of events: claims, answers, approvals, deaths, sweeps, cancellations, copies, late words.

A small model says what each word must be; after every step the store is looked at for what may never be: a run that
nobody will look at again, two answers to one call, a finished run that is still due.
"""

from __future__ import annotations

import json
from collections import Counter
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
from agent_core.tools.execution import CallOutcome, CallResult, Confirmation, ToolExecution, parse_answer
from queues import keys
from queues.calls import CallAddress, ClaimedCall
from queues.claims import ClaimedRun
from queues.errors import RunNotFailedError
from queues.executor_calls import ExecutorCalls, LentCall
from queues.protocol import continuation_member, due_member, unapproved_member
from queues.topology import pool_queue
from tests.support.queue_floor import TIMING, Floor, external, function, parts, pending_snapshot, unsigned

# Some tens of thousands of commands; a busy machine takes its time for them.
pytestmark = [pytest.mark.redis, pytest.mark.timeout(400)]

POOLS = {"a": "shell", "b": "python", "c": "shell", "p": None, "u": "vault", "v": "vault"}
CONSUMED = ("shell", "python", "vault")
APPROVALS = {"vault": 1000.0}
CHANGED = {"key": "changed"}
IDS = st.sampled_from(sorted(POOLS))
BATCHES = st.sets(IDS, min_size=1, max_size=3)
Place = tuple[int, str]


class QueueMachine(RuleBasedStateMachine):
    """One run, its holders living and dead, and the workers of its calls."""

    connection: ClassVar[redis.Redis]

    def __init__(self) -> None:
        super().__init__()
        self.connection.flushall()
        self.floor = Floor(self.connection)
        self.retries = 0
        self.without_pool: dict[tuple[str, int, str], Any] = {}  # answered by people's no, or by nobody's yes
        self.begin_anew()

    def begin_anew(self) -> None:
        self.run_id = self.floor.runs.create(pending_snapshot(), agent="ops", lane="normal")
        self.holder: ClaimedRun | None = None
        self.lease_is_over = False
        self.is_poisonous = False
        self.outages = 0
        self.has_buried = False
        self.second_decisions = 0
        self.former: list[ClaimedRun] = []
        self.workers: dict[Place, ClaimedCall] = {}
        self.former_workers: list[tuple[Place, ClaimedCall]] = []
        self.answers: dict[Place, Any] = {}
        self.decisions: dict[Place, Confirmation] = {}

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
        return any(self.is_for_people(place) for place in self.unanswered)

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
        if pool is None:
            return keys.people(self.run_id, step)
        if self.is_for_people(place):
            return keys.approvals(pool, self.run_id, step)
        return keys.part(pool, self.run_id, step)

    def is_for_people(self, place: Place) -> bool:
        """Whether its answer is a person's: a result, or that the pool must not execute it."""
        pool, decision = POOLS[place[1]], self.decisions.get(place)
        return pool is None or (pool in APPROVALS and not (decision and decision.confirmed))

    @property
    def is_ending(self) -> bool:
        return self.is_finished or bool(self.connection.hexists(keys.run(self.run_id), "cancel_reason"))

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
            for call in pending:
                decision = self.decisions.get((call.step, call.tool_call_id))
                was_changed = decision is not None and decision.confirmed and decision.arguments is not None
                assert (call.tool_args == CHANGED) == was_changed

    def calls_of_next_batch(self, ids: set[str]) -> list[ToolExecution]:
        assert self.holder is not None
        step = self.holder.snapshot.step
        return [
            external(call_id, POOLS[call_id]).model_copy(
                update={"step": step, "requires_approval": POOLS[call_id] in APPROVALS}
            )
            for call_id in sorted(ids)
        ]

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
            self.paused(self.floor.claims.pause(run, run.snapshot, parts(run, calls, tool, approvals=APPROVALS), []))
        else:
            handed_out = parts(run, calls, tool, approvals=APPROVALS)
            self.holder = self.floor.claims.checkpoint(run, run.snapshot, handed_out, [])

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
        if self.is_for_people(place):
            assert claimed == "missing"
        elif place in self.answers:
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
            assert verdict == ("settled" if self.has_open_calls(place) else "last") and not again
            assert place not in self.answers
            self.answers[place] = result
        self.former_workers.append((place, call))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_call_is_given_back(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.workers)))
        call, part = self.workers.pop(place), self.part(place)
        attempts = int(self.connection.hget(part, f"attempts:{place[1]}") or 0)
        calls = ExecutorCalls(self.connection, timing=TIMING)
        for _ in range(2):
            assert calls.release(LentCall(call, lease="", begun_ms=0)) == "released"
        begun = 1 if call.attempt else 0
        assert int(self.connection.hget(part, f"attempts:{place[1]}") or 0) == attempts - begun
        self.former_workers.append((place, call))

    def has_open_calls(self, place: Place) -> bool:
        """Whether the part waits for other answers, be it that its run has ended meanwhile."""
        fields: Any = self.connection.hkeys(self.part(place))
        known = {field.removeprefix("state:") for field in fields if field.startswith("state:")}
        return any(f"answer:{call_id}" not in fields for call_id in known)

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
        if place in self.answers:
            assert word == ("settled" if self.answers[place].content == answer.content else "already")
        elif word in ("settled", "last"):
            self.answers[place] = self.stored_answer(place)
            assert unsigned(self.answers[place]) == answer
        else:
            assert word == ("ended" if "p" in self.pending and self.is_ending else "missing")

    @property
    def pending(self) -> set[str]:
        return {call.tool_call_id for call in self.floor.runs.load(self.run_id).snapshot.pending}

    def stored_answer(self, place: Place) -> Any:
        return parse_answer(str(self.connection.hget(self.part(place), f"answer:{place[1]}")))

    @property
    def undecided(self) -> list[str]:
        return [call_id for step, call_id in self.unanswered if self.is_for_people((step, call_id)) and call_id != "p"]

    @precondition(
        lambda self: self.undecided or (self.is_far and self.second_decisions < 2 and self.pending & {"u", "v"})
    )
    @rule(data=st.data(), approves=st.sampled_from((True, True, False)), changes=st.booleans())
    def a_person_decides(self, data: st.DataObject, approves: bool, changes: bool) -> None:
        stored = self.floor.runs.load(self.run_id)
        self.second_decisions += not self.undecided
        call_id = data.draw(st.sampled_from(self.undecided or sorted(self.pending & {"u", "v"})))
        place = (stored.snapshot.step, call_id)
        answer = Confirmation(confirmed=approves, arguments=CHANGED if approves and changes else None)
        before, messages = self.decisions.get(place), self.connection.llen("tools.vault")
        word = self.floor.runs.answer(stored, call_id, answer)
        if before is not None:
            assert word == ("settled" if unsigned(before) == answer else "already")
        elif place in self.answers:
            assert word == "already"
        elif self.is_ending:
            assert word == "ended"
        else:
            assert word in ("settled", "last")
            decision = self.stored_answer(place)
            assert unsigned(decision) == answer
            self.decisions[place] = decision
            if not approves:
                self.answers[place] = self.without_pool[self.run_id, *place] = decision
            assert self.connection.llen("tools.vault") == messages + approves
            return
        assert self.connection.llen("tools.vault") == messages

    @precondition(lambda self: self.connection.zcard(keys.UNAPPROVED))
    @rule()
    def nobody_approves_in_time(self) -> None:
        awaited = [place for place in self.unanswered if POOLS[place[1]] in APPROVALS and self.is_for_people(place)]
        for member in self.members(keys.UNAPPROVED):
            self.connection.zadd(keys.UNAPPROVED, {member: 1})
        words = [self.floor.repairs.approvals.look_at(e) for e in self.floor.repairs.approvals.due(limit=50)]
        assert words.count("expired") == (0 if self.is_ending else len(awaited))
        for place in [] if self.is_ending else awaited:
            self.answers[place] = self.without_pool[self.run_id, *place] = self.stored_answer(place)
            assert self.answers[place].outcome is CallOutcome.EXPIRED

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
        for pool in CONSUMED:
            self.floor.repairs.glance_at(pool, limit=50)
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
                self.has_buried = True
                self.floor.letters.requeue_call(letter)
        if self.is_finished:
            self.lose_holder()

    def become_due(self) -> None:
        for due in (keys.DUE, *map(keys.pool_due, CONSUMED)):
            for member in self.members(due):
                self.connection.zadd(due, {member: 1})

    @precondition(lambda self: self.connection.exists(*map(pool_queue, CONSUMED)))
    @rule()
    def all_messages_are_lost(self) -> None:
        self.connection.delete("agents", *map(pool_queue, CONSUMED))

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
        self.retries += 1
        claimed = self.floor.claims.claim(self.run_id, owner="agents@test")
        assert isinstance(claimed, ClaimedRun)
        self.lose_holder()
        self.holder, self.lease_is_over = claimed, False
        pending = claimed.snapshot.pending
        if pending:  # as the loop does: what is not answered is handed out again
            claimed.snapshot.output.status = RunStatus.PAUSED
            again = parts(claimed, pending, approvals=APPROVALS)
            self.paused(self.floor.claims.pause(claimed, claimed.snapshot, again, []))

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
    def runs_are_counted_as_they_are(self) -> None:
        with self.connection.pipeline(transaction=False) as asked:
            asked.hgetall(keys.STATES)
            for run_id in self.members(keys.RUNS):
                asked.hget(keys.run(run_id), "status")
            told, *statuses = asked.execute()
        recounted, counted = Counter(statuses), {name: int(count) for name, count in told.items()}
        assert counted["submitted"] == recounted.total()
        for status in ("PENDING", "RUNNING", "PAUSED"):
            assert counted.get(status, 0) == recounted[status], status
        # One that is retried has ended and has not.
        ends = ("COMPLETED", "CANCELLED", "ERROR")
        assert sum(counted.get(status, 0) for status in ends) == sum(recounted[s] for s in ends) + self.retries
        for status in ("COMPLETED", "CANCELLED"):
            assert counted.get(status, 0) == recounted[status], status
        without_pool = Counter(
            f"{answer.outcome if isinstance(answer, CallResult) else 'denied'}:vault"
            for place, answer in self.without_pool.items()
        )
        assert {name: count for name, count in counted.items() if ":" in name} == without_pool

    @invariant()
    def somebody_will_look_at_a_run_that_can_go_on(self) -> None:
        status, due = self.status, self.members(keys.DUE)
        if status in ("PENDING", "RUNNING"):
            assert self.run_id in due
        elif status == "PAUSED" and not self.unanswered:
            step = int(self.floor.runs.load(self.run_id).snapshot.step)
            entry = continuation_member(self.run_id, step)
            assert self.run_id in due or any(entry in self.members(keys.pool_due(pool)) for pool in CONSUMED)

    @invariant()
    def somebody_will_look_at_each_call_that_waits(self) -> None:
        if self.is_finished or self.connection.hexists(keys.run(self.run_id), "cancel_reason"):
            return
        for place in self.unanswered:
            step, call_id = place
            if (pool := POOLS[call_id]) is not None and self.is_for_people(place):
                assert unapproved_member(pool, self.run_id, step, call_id, "look_up") in self.members(keys.UNAPPROVED)
            elif pool is not None:
                assert due_member(self.run_id, step, call_id, "look_up") in self.members(keys.pool_due(pool)), place

    @invariant()
    def people_are_waited_for_until_a_deadline(self) -> None:
        if self.status == "PAUSED" and self.waits_for_a_person:
            assert self.run_id in self.members(keys.DEADLINES)
        elif self.status == "PAUSED" and not self.has_buried:
            assert self.run_id not in self.members(keys.DEADLINES)

    @invariant()
    def no_pool_has_what_nobody_approved(self) -> None:
        for place in self.unanswered:
            if (pool := POOLS[place[1]]) in APPROVALS and self.is_for_people(place):
                assert not self.connection.hexists(keys.part(str(pool), self.run_id, place[0]), f"state:{place[1]}")

    @invariant()
    def the_first_answer_stands(self) -> None:
        for place, answer in self.answers.items():
            stored = self.connection.hget(self.part(place), f"answer:{place[1]}")
            assert stored is not None and parse_answer(str(stored)) == answer

    @invariant()
    def each_part_counts_its_open_calls(self) -> None:
        for part, calls in self.waiting:
            left = sum(not self.connection.hexists(part, f"answer:{call_id}") for call_id in calls)
            assert self.connection.hget(part, "outstanding") == str(left)


@pytest.fixture
def machine(redis_connection: redis.Redis) -> Iterator[type[QueueMachine]]:
    QueueMachine.connection = redis_connection
    yield QueueMachine


def test_the_scripts_keep_their_word_in_any_order_of_events(machine: type[QueueMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
