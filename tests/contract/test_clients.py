"""What both clients promise: one suite, run against the one for threads and the one for asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import get_args

import pytest
import redis

from agent_core.errors import InvalidAnswerError, RunNotFoundError
from agent_core.events import RunCompleted
from agent_core.run import RunStatus
from agent_core.tools.execution import ToolExecution
from queues import keys
from queues.claims import ClaimedRun
from queues.client import AsyncClient, AsyncRunHandle, Client, RunHandle, WaitTimeoutError
from queues.errors import (
    AlreadyAnsweredError,
    DeadLetterNotFoundError,
    IdempotencyConflictError,
    RunNotFailedError,
    StoreUnreachableError,
    UnknownAgentError,
)
from queues.event_places import InvalidEventIdError
from queues.topology import Lane
from tests.support.either_client import KINDS, EitherClient, either_client
from tests.support.queue_floor import DONE, TIMING, Floor, external
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

BOUND = 30


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[EitherClient]:
    async with either_client(request.param, redis_url, timing=TIMING) as opened:
        yield opened


def finish(floor: Floor, run: ClaimedRun) -> None:
    run.snapshot.output.status = RunStatus.COMPLETED
    run.snapshot.output.content = "done"
    floor.claims.finish(run, run.snapshot, [RunCompleted(run_id=run.run_id, agent_name="ops")])


async def somebody_waits(connection: redis.Redis) -> None:
    """Until a client blocks in Redis, which is how all of ours wait."""

    def blocked() -> bool:
        return int(connection.info("clients")["blocked_clients"]) > 0

    await asyncio.to_thread(wait_until, blocked, "somebody waits in Redis")


@pytest.mark.parametrize("pair", [(Client, AsyncClient), (RunHandle, AsyncRunHandle)], ids=["client", "handle"])
def test_both_have_the_same_methods(pair: tuple[type, type]) -> None:
    ours, twin = (
        {name: member for name, member in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
        for kind in pair
    )
    if "close" in ours:
        ours["aclose"] = ours.pop("close")
    assert ours.keys() == twin.keys()
    for name, method in ours.items():
        assert inspect.signature(method).parameters == inspect.signature(twin[name]).parameters, name


async def test_a_submitted_run_is_there_at_once(client: EitherClient) -> None:
    run = await client.submit("ops", "hello", user_id="ada", metadata={"ticket": 7}, priority="high")
    output = await run.output()
    assert (output.input, output.user_id, output.metadata) == ("hello", "ada", {"ticket": 7})
    assert await run.status() is RunStatus.PENDING and not run.is_repeat
    assert (await (await client.run(run.run_id)).output()) == output == await client.output(run.run_id)


async def test_one_key_is_one_run(client: EitherClient) -> None:
    first = await client.submit("ops", "hello", idempotency_key="k")
    again = await client.submit("ops", "hello", idempotency_key="k")
    assert again.run_id == first.run_id and (first.is_repeat, again.is_repeat) == (False, True)
    with pytest.raises(IdempotencyConflictError, match=first.run_id):
        await client.submit("ops", "another", idempotency_key="k")


async def test_what_cannot_be_submitted_is_refused(client: EitherClient, floor: Floor) -> None:
    with pytest.raises(ValueError, match=", ".join(get_args(Lane))):
        await client.submit("ops", "hello", priority="urgent")
    with pytest.raises(ValueError, match="deadline_seconds is 0"):
        await client.submit("ops", "hello", deadline_seconds=0)
    floor.claims.announce(["helpdesk"], valid_seconds=60)
    with pytest.raises(UnknownAgentError, match="on offer: helpdesk"):
        await client.submit("ops", "hello")
    assert await client.agents() == ["helpdesk"]
    assert await client.runs() == []


async def test_an_unknown_run_is_named(client: EitherClient) -> None:
    for command in (client.run, client.output, client.wait, client.cancel, client.retry, client.pending):
        with pytest.raises(RunNotFoundError, match="run_nothing"):
            await command("run_nothing")
    with pytest.raises(RunNotFoundError, match="run_nothing"):
        await anext(client.events("run_nothing"))


async def test_waiting_ends_with_the_run(client: EitherClient, floor: Floor) -> None:
    run = floor.paused(external("a"))
    waiting = asyncio.create_task(client.wait(run.run_id, timeout=BOUND))
    await somebody_waits(floor.connection)
    floor.calls.settle(floor.executing(run.run_id, "a"), DONE)
    again = floor.claims.claim(run.run_id, owner="agents@test")
    assert isinstance(again, ClaimedRun) and not waiting.done()
    finish(floor, again)
    output = await waiting
    assert (output.status, output.content) == (RunStatus.COMPLETED, "done")


async def test_waiting_may_end_with_a_pause_for_people(client: EitherClient, floor: Floor) -> None:
    run = floor.dispatched(external("a", pool=None))
    waiting = asyncio.create_task(client.wait(run.run_id, timeout=BOUND, until="paused"))
    await somebody_waits(floor.connection)
    floor.pause(run)
    assert (await waiting).is_paused
    with pytest.raises(WaitTimeoutError, match=r"still PAUSED after 0\.01 s"):
        await client.wait(run.run_id, timeout=0.01)


async def test_a_pause_for_a_pool_ends_no_waiting(client: EitherClient, floor: Floor) -> None:
    run = floor.paused(external("a"))
    with pytest.raises(WaitTimeoutError, match="PAUSED"):
        await client.wait(run.run_id, timeout=0.05, until="paused")


async def test_events_are_told_from_any_place_on(client: EitherClient, floor: Floor) -> None:
    run = floor.paused(external("a", pool=None))
    assert (await anext(client.events(run.run_id))).event == "RunPaused"
    await client.cancel(run.run_id, "enough")
    whole = [event async for event in client.events(run.run_id, timeout=BOUND)]
    assert [event.event for event in whole] == ["RunPaused", "RunCancelled"]
    rest = [event async for event in client.events(run.run_id, after=whole[0].event_id)]
    assert rest == whole[1:]
    with pytest.raises(InvalidEventIdError, match="no event id"):
        await anext(client.events(run.run_id, after="yesterday"))


async def test_the_events_of_a_run_that_waits_end_with_the_time(client: EitherClient, floor: Floor) -> None:
    run = floor.paused(external("a"))
    assert [event.event async for event in client.events(run.run_id, timeout=0.05)] == ["RunPaused"]


async def test_a_run_is_cancelled_once(client: EitherClient, floor: Floor) -> None:
    run = await client.submit("ops", "hello")
    assert await run.cancel("changed my mind")
    assert not await run.cancel()
    output = await run.wait(BOUND)
    assert output.is_cancelled and "changed my mind" in str(output.error)


async def test_only_a_failed_run_is_retried(client: EitherClient, floor: Floor) -> None:
    run = await client.submit("ops", "hello")
    with pytest.raises(RunNotFailedError, match="PENDING"):
        await run.retry()
    floor.kill_three_holders(run.run_id)
    floor.connection.zadd(keys.DUE, {run.run_id: 1})
    assert floor.sweep_runs() == ["buried"]
    assert await (await run.retry()).status() is RunStatus.PENDING


async def test_people_answer_once(client: EitherClient, floor: Floor) -> None:
    asked = ToolExecution(tool_call_id="c", tool_name="look_up", step=1, requires_confirmation=True)
    run = floor.paused(external("p", pool=None), asked)
    assert [call.tool_call_id for call in await client.pending(run.run_id)] == ["p", "c"]
    with pytest.raises(InvalidAnswerError, match="does not ask for confirmation"):
        await client.confirm(run.run_id, "p", True)
    with pytest.raises(InvalidAnswerError, match="does not ask for input"):
        await client.provide_input(run.run_id, "p", {"x": 1})
    with pytest.raises(InvalidAnswerError, match="either result= or error="):
        await client.settle(run.run_id, "p")
    await client.settle(run.run_id, "p", result={"found": 3}, answered_by="ada")
    with pytest.raises(AlreadyAnsweredError):
        await client.settle(run.run_id, "p", error="no")
    await client.confirm(run.run_id, "c", False, "too risky")
    again = floor.claims.claim(run.run_id, owner="agents@test")
    assert isinstance(again, ClaimedRun) and set(again.answers) == {"p", "c"}
    assert again.answers["p"].answered_by == "ada"


async def test_what_was_buried_is_listed_and_dug_up(client: EitherClient, floor: Floor) -> None:
    letter_id = floor.buried_call()
    (letter,) = await client.dead_letters()
    assert letter == await client.dead_letter(letter_id) and letter.pool == "shell"
    assert await client.requeue(letter_id)
    with pytest.raises(DeadLetterNotFoundError, match=letter_id):
        await client.requeue(letter_id)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_not_there_is_named_at_once(kind: str) -> None:
    async with either_client(kind, "redis://:secret@127.0.0.1:1/0") as client:
        with pytest.raises(StoreUnreachableError, match=r"127\.0\.0\.1:1/0 cannot be reached") as refused:
            await client.submit("ops", "hello")
        assert "secret" not in str(refused.value)
        for command in (client.wait, client.output, client.cancel):
            with pytest.raises(StoreUnreachableError):
                await command("run_1")
        with pytest.raises(StoreUnreachableError):
            await anext(client.events("run_1"))
        with pytest.raises(StoreUnreachableError):
            await client.execute("look_up", {"key": "x"})
