"""Operators are told of a lease that was lost, and not of one that its holder had done with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import redis

from agent_core import telemetry
from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel, call
from agent_core.tools import tool
from queues import keys
from queues.leases import LeaseKeeper
from queues.parts import Routing
from queues.run_store import RedisRunStore
from tests.support.acting_sandbox import ActingSandbox
from tests.support.queue_floor import DONE, TIMING, Floor, address, external
from tests.support.waiting import wait_until
from workers.agent_tasks import Advancer
from workers.agents import Project
from workers.execution import Executor

pytestmark = pytest.mark.redis


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    heard: list[object] = []

    def hear(event: str, fields: Mapping[str, object]) -> None:
        heard.append(fields["kind"]) if event == "lease.lost" else None

    monkeypatch.setattr(telemetry, "_listeners", [hear])
    return heard


@pytest.fixture
def leases(redis_connection: redis.Redis) -> Iterator[LeaseKeeper]:
    keeper = LeaseKeeper(redis_connection, heartbeat_seconds=0.02)
    yield keeper
    keeper.close()


@pytest.mark.parametrize("is_done", [True, False])
def test_a_call_that_is_settled_is_not_lost(
    floor: Floor, leases: LeaseKeeper, told: list[object], is_done: bool
) -> None:
    call = floor.executing(floor.paused(external("a")).run_id, "a")
    with leases.holding(floor.calls.renewal(call)) as lease:
        floor.calls.settle(call, DONE)
        wait_until(lambda: lease.standing == "lost", "a heartbeat finds nothing held")
        if is_done:
            lease.done()
    assert told == ([] if is_done else ["call"])


def test_a_run_that_another_holds_is_lost(floor: Floor, leases: LeaseKeeper, told: list[object]) -> None:
    run_id = floor.submitted()
    run = floor.claims.claim(run_id, owner="one")
    assert not isinstance(run, str)
    with pytest.raises(RuntimeError), leases.holding(floor.claims.renewal(run)) as lease:
        floor.claims.release(run)
        assert not isinstance(floor.claims.claim(run_id, owner="two"), str)
        assert lease.stopped.wait(30)
        raise RuntimeError("as a save does, that comes too late")
    assert told == ["run"]


@pytest.fixture
def asleep(redis_connection: redis.Redis) -> Iterator[LeaseKeeper]:
    """Leases of a process whose next heartbeat never comes."""
    keeper = LeaseKeeper(redis_connection, heartbeat_seconds=3600)
    yield keeper
    keeper.close()


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_call_whose_answer_is_refused_was_lost_before_any_heartbeat(
    floor: Floor, asleep: LeaseKeeper, told: list[object], is_lost: bool
) -> None:
    run_id = floor.paused(external("a")).run_id

    def act(_: object) -> None:
        if is_lost:
            floor.connection.hset(address(run_id, "a").part, "epoch:a", "99")

    Executor(floor.calls, asleep, ActingSandbox(act), worker="shell@test").execute(address(run_id, "a"))
    assert told == (["call"] if is_lost else [])


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_run_whose_save_is_refused_was_lost_before_any_heartbeat(
    floor: Floor, asleep: LeaseKeeper, told: list[object], is_lost: bool
) -> None:
    run_id = floor.submitted()

    @tool
    def look() -> str:
        """Look."""
        if is_lost:
            floor.connection.hset(keys.run(run_id), "epoch", "99")
        return "seen"

    agent = Agent(name="ops", model=ScriptedModel([[call("look")], "done"]), tools=[look])
    advancer = Advancer(
        project=Project(agents={"ops": agent}, routing=Routing(pools={}, queue_seconds={})),
        claims=floor.claims,
        leases=asleep,
        store=RedisRunStore.on(floor.connection, timing=TIMING),
        worker="agents@test",
    )
    assert (advancer.advance(run_id, task_id=run_id) == "lost") is is_lost
    assert told == (["run"] if is_lost else [])
