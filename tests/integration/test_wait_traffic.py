"""What waiting for a run, and looking at one, asks of the server; the same of both clients."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import redis

from agent_core.events import RunCompleted, RunContent, RunStarted
from agent_core.run import RunStatus
from queues import keys
from queues.claims import ClaimedRun
from tests.support.blocked import blocked
from tests.support.commands import counted_commands
from tests.support.either_client import KINDS, EitherClient, either_client
from tests.support.queue_floor import DONE, TIMING, Floor, claimed, external
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

BOUND = 30
LONG_WORDS = json.dumps({"event": "RunContent", "content": "words " * 2000})
OURS = {"hmget", "xread", "xrevrange", "xrange"}  # workers by hand send scripts alone


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[EitherClient]:
    async with either_client(request.param, redis_url, timing=TIMING) as opened:
        yield opened


def told(commands: Counter[str]) -> dict[str, int]:
    return {name: number for name, number in commands.items() if name in OURS}


async def somebody_waits(connection: redis.Redis, *, besides: set[str]) -> None:
    await asyncio.to_thread(wait_until, lambda: blocked(connection) - besides, "somebody waits in Redis")


def complete(floor: Floor, run: ClaimedRun) -> None:
    common = {"run_id": run.run_id, "agent_name": "ops"}
    run.snapshot.output.status = RunStatus.COMPLETED
    events = [RunStarted(**common), RunContent(**common, content="done"), RunCompleted(**common, content="done")]
    floor.claims.finish(run, run.snapshot, events)


async def test_a_wait_from_the_submit_on_is_two_looks_and_what_it_is_told(client: EitherClient, floor: Floor) -> None:
    run_id = floor.submitted()
    others = blocked(floor.connection)
    with counted_commands(floor.connection) as commands:
        waiting = asyncio.create_task(client.wait(run_id, timeout=BOUND))
        await somebody_waits(floor.connection, besides=others)
        complete(floor, claimed(floor.claims, run_id))
        assert (await waiting).status is RunStatus.COMPLETED
    assert told(commands) == {"hmget": 2, "xread": 1}


async def test_a_run_that_has_ended_is_one_look(client: EitherClient, floor: Floor) -> None:
    run_id = floor.submitted()
    complete(floor, claimed(floor.claims, run_id))
    with counted_commands(floor.connection) as commands:
        assert (await client.wait(run_id, timeout=BOUND)).status is RunStatus.COMPLETED
    assert told(commands) == {"hmget": 1}


async def test_pauses_for_pools_are_not_looked_at(client: EitherClient, floor: Floor) -> None:
    run_id = floor.paused(external("a")).run_id
    others = blocked(floor.connection)
    with counted_commands(floor.connection) as commands:
        waiting = asyncio.create_task(client.wait(run_id, timeout=BOUND))
        await somebody_waits(floor.connection, besides=others)
        floor.calls.settle(floor.executing(run_id, "a"), DONE)
        again = claimed(floor.claims, run_id)
        for _ in range(3):
            again = floor.pause(again)
            floor.connection.hset(keys.run(run_id), "status", "RUNNING")
        complete(floor, again)
        assert (await waiting).status is RunStatus.COMPLETED
    asked = told(commands)
    assert asked.pop("xread") <= 4 and asked == {"hmget": 3, "xrevrange": 1}


async def test_what_a_long_run_has_told_is_not_read_by_who_waits_for_its_end(
    client: EitherClient, floor: Floor
) -> None:
    run_id = floor.paused(external("a")).run_id
    for _ in range(500):
        floor.connection.xadd(keys.events(run_id), {"event": LONG_WORDS})
    others = blocked(floor.connection)
    sent = int(floor.connection.info("stats")["total_net_output_bytes"])
    waiting = asyncio.create_task(client.wait(run_id, timeout=BOUND))
    await somebody_waits(floor.connection, besides=others)
    assert await client.cancel(run_id)
    assert (await waiting).status is RunStatus.CANCELLED
    # Far less than all of it, and far more than it takes to ask now and then who waits.
    assert int(floor.connection.info("stats")["total_net_output_bytes"]) - sent < 500 * len(LONG_WORDS) / 2


async def test_where_a_run_stands_is_told_without_its_conversation(client: EitherClient, floor: Floor) -> None:
    run_id = floor.submitted()
    floor.connection.hset(keys.run(run_id), "snapshot", "not looked at")
    assert await client.status(run_id) is await (await client.run(run_id)).status() is RunStatus.PENDING


async def test_a_run_is_followed_without_its_conversation(client: EitherClient, floor: Floor) -> None:
    """The log, which holds it, is not asked for."""
    run = await client.submit("ops", "hello", session_id="ses_1")
    complete(floor, claimed(floor.claims, run.run_id))
    floor.connection.hset(keys.run(run.run_id), "logged", 3)
    events = [event async for event in run.events(timeout=BOUND)]
    assert [event.event for event in events] == ["RunStarted", "RunContent", "RunCompleted"]
    assert {(event.run_id, event.agent_name, event.session_id) for event in events} == {(run.run_id, "ops", "ses_1")}
