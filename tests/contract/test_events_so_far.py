"""Reading what a run has told so far, without waiting for more; the same of both clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from agent_core.events import RunContent, RunEvent
from queues import keys
from queues.requests import NextEntries
from queues.stored_events import stored_event
from tests.support.either_client import KINDS, EitherClient, either_client
from tests.support.queue_floor import TIMING, Floor, external

pytestmark = pytest.mark.redis

MANY = 1200  # more than one batch


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[EitherClient]:
    async with either_client(request.param, redis_url, timing=TIMING) as opened:
        yield opened


async def so_far(client: EitherClient, run_id: str, *, after: str | None = None) -> list[RunEvent]:
    return [event async for event in client.events(run_id, after=after, timeout=0)]


async def test_all_of_it_is_read_also_what_pools_told(client: EitherClient, floor: Floor) -> None:
    run = floor.paused(external("a"))
    stream = keys.events(run.run_id)
    started = {"event": "ToolCallStarted", "tool": external("a").model_dump(mode="json")}
    floor.connection.xadd(stream, {"event": json.dumps(started)})
    text = stored_event(RunContent(run_id=run.run_id, agent_name="ops", content="text"))
    for _ in range(MANY):
        floor.connection.xadd(stream, {"event": text})
    floor.executing(run.run_id, "a")
    told = await so_far(client, run.run_id)
    names = [event.event for event in told]
    assert names[:2] == ["RunPaused", "ToolCallStarted"] and names[-1] == "ToolCallExecuting"
    assert names.count("RunContent") == MANY == len(names) - 3
    assert await so_far(client, run.run_id, after=told[-1].event_id) == []
    assert len(await so_far(client, run.run_id, after=told[0].event_id)) == len(told) - 1


async def test_of_a_run_that_has_told_nothing_there_is_nothing(client: EitherClient, floor: Floor) -> None:
    assert await so_far(client, floor.submitted()) == []


async def test_an_end_ends_it(client: EitherClient, floor: Floor) -> None:
    run = floor.paused(external("a"))
    floor.cancel(run.run_id)
    assert [event.event for event in await so_far(client, run.run_id)] == ["RunPaused", "RunCancelled"]


def test_the_server_is_not_asked_to_wait() -> None:
    asked = NextEntries({"s": "0-0"}, 5)
    assert "BLOCK" in asked.command(4000)
    assert "BLOCK" not in NextEntries({"s": "0-0"}, 5, waits=False).command(4000)
