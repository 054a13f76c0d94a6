"""Calls that a producer executes without a run: in the queue of their pool, under its leases, and gone afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis

from agent_core.tools.execution import CallMetrics, CallOutcome, CallResult, ToolExecution
from queues import keys
from queues.calls import Calls
from queues.errors import (
    CallFailedError,
    CallRefusedError,
    UnknownPoolError,
    UnknownToolError,
    WaitTimeoutError,
)
from queues.executing import lone_call
from queues.lone_calls import LoneCalls
from queues.offers import Offers, ToolOffer
from queues.timing import Timing
from tests.support.blocked import blocked
from tests.support.either_client import KINDS, EitherClient, either_client
from tests.support.hand_worker import HandWorker
from tests.support.queue_floor import DONE, TIMING, Floor
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

BOUND = 60
OFFER = ToolOffer("shell", timeout_seconds=7, max_attempts=3, backoff_seconds=0, on_lost="retry")


class Clock:
    """The time by which clients give up; a test can put it forward."""

    ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, redis_url: str, clock: Clock) -> AsyncIterator[EitherClient]:
    async with either_client(request.param, redis_url, timing=TIMING, clock=clock) as opened:
        yield opened


@pytest.fixture
def worker(redis_connection: redis.Redis) -> HandWorker:
    """A worker of pool shell; its tools are on offer."""
    offers = {"look_up": OFFER, "guarded": ToolOffer("careful", approval=True), "count": ToolOffer("python")}
    Offers(redis_connection).announce_tools(offers)
    return HandWorker(redis_connection)


def executing(client: EitherClient, *args: object, **settings: object) -> asyncio.Task[str]:
    return asyncio.create_task(client.execute(*args, **{"timeout": BOUND, **settings}))


def left(connection: redis.Redis) -> dict[str, int]:
    """The keys of lone calls that are still there, and for how long."""
    found = [str(key) for key in connection.scan_iter("errandry:*") if "{exec_" in str(key)]
    return {key: int(connection.pttl(key)) for key in found}


async def test_a_call_is_executed_where_its_tool_is_offered(client: EitherClient, worker: HandWorker) -> None:
    running = executing(client, "look_up", {"key": "x"})
    call, word = await asyncio.to_thread(worker.answer, DONE)
    assert await running == "found"
    request = call.request
    assert (request.tool_args, request.timeout_seconds, request.max_attempts, request.on_lost) == (
        {"key": "x"}, 7, 3, "retry",
    )  # fmt: skip
    assert request.idempotency_key.startswith("exec_")
    # Nobody is to be continued, and what is left of the call goes by itself.
    assert word == "settled" and worker.connection.llen("agents") == 0
    assert worker.connection.zcard(keys.pool_due("shell")) == 0
    kept = left(worker.connection)
    assert len(kept) == 2 and all(0 < ms <= 60_000 for ms in kept.values())


async def test_the_call_of_a_run_in_this_process_keeps_its_id(client: EitherClient, worker: HandWorker) -> None:
    asked = ToolExecution(
        tool_call_id="call:7", tool_name="look_up", tool_args={"key": "x"}, external_execution_required=True
    )
    running = executing(client, asked)
    call, _ = await asyncio.to_thread(worker.answer, DONE)
    assert await running == "found" and call.address.tool_call_id == "call:7"
    with pytest.raises(CallRefusedError, match="leave args out"):
        await client.execute(asked, {"key": "y"})


async def test_a_pool_may_be_named(client: EitherClient, redis_connection: redis.Redis) -> None:
    running = executing(client, "anything", pool="shell")
    call, _ = await asyncio.to_thread(HandWorker(redis_connection).answer, DONE)
    assert await running == "found" and call.address.tool_name == "anything"


async def test_what_is_unknown_is_refused_with_what_is_known(client: EitherClient, worker: HandWorker) -> None:
    with pytest.raises(UnknownToolError, match="'lookup'; known are count, guarded, look_up"):
        await client.execute("lookup", {})
    with pytest.raises(UnknownPoolError, match="'shel'; known are careful, python, shell"):
        await client.execute("look_up", {}, pool="shel")
    worker.connection.delete(keys.TOOLS)
    with pytest.raises(UnknownToolError, match="no agent worker has told of any; name its pool="):
        await client.execute("look_up", {})


async def test_what_cannot_be_sent_is_refused(client: EitherClient, worker: HandWorker) -> None:
    with pytest.raises(CallRefusedError, match="once a person has approved it"):
        await client.execute("guarded", {})
    with pytest.raises(CallRefusedError, match="1048576 are allowed"):
        await client.execute("look_up", {"key": "x" * 1024 * 1024})
    with pytest.raises(CallRefusedError, match="cannot be sent"):
        await client.execute("look_up", {"key": object()})
    assert left(worker.connection) == {} and worker.connection.llen("tools.shell") == 0


@pytest.mark.parametrize("outcome", [outcome for outcome in CallOutcome if outcome is not CallOutcome.SUCCEEDED])
async def test_any_other_outcome_is_an_error(client: EitherClient, worker: HandWorker, outcome: CallOutcome) -> None:
    running = executing(client, "look_up", {"key": "x"})
    result = CallResult(outcome=outcome, content="no such key", metrics=CallMetrics(pool="shell"))
    await asyncio.to_thread(worker.answer, result)
    with pytest.raises(CallFailedError, match=rf"look_up in pool shell: \[{outcome}\] no such key") as failed:
        await running
    assert (failed.value.outcome, failed.value.content) == (outcome, "no such key")


async def test_a_try_that_is_repeated_ends_nothing(client: EitherClient, worker: HandWorker) -> None:
    running = executing(client, "look_up", {"key": "x"})
    first = await asyncio.to_thread(worker.begun)
    failed = CallResult(outcome=CallOutcome.FAILED, content="not yet")
    assert worker.calls.settle(first, failed, retry_after_seconds=0.001) == "retry"
    repairs = Floor(worker.connection)
    await asyncio.to_thread(wait_until, lambda: repairs.sweep_calls() == ["pushed"], "the next try is due")
    second, _ = await asyncio.to_thread(worker.answer, DONE)
    assert await running == "found" and second.attempt == 2


async def test_a_queued_call_is_cancelled_when_the_time_is_up(client: EitherClient, worker: HandWorker) -> None:
    with pytest.raises(WaitTimeoutError, match=r"pool shell has not answered the call of look_up in 0\.05 s"):
        await client.execute("look_up", {"key": "x"}, timeout=0.05)
    assert worker.calls.claim(worker.address()) == "cancelled"
    assert worker.connection.zcard(keys.pool_due("shell")) == 0
    assert all(0 < ms <= 3_600_000 for ms in left(worker.connection).values())


async def test_an_executing_call_is_cancelled_when_the_time_is_up(
    client: EitherClient, worker: HandWorker, clock: Clock
) -> None:
    others = blocked(worker.connection)
    running = executing(client, "look_up", {"key": "x"})
    call = await asyncio.to_thread(worker.begun)
    await asyncio.to_thread(wait_until, lambda: blocked(worker.connection) - others, "the answer is waited for")
    clock.ahead_seconds = BOUND
    worker.connection.xadd(call.address.events, {"event": "junk"})  # which wakes whoever waits
    with pytest.raises(WaitTimeoutError):
        await running
    assert worker.calls.renew(call) == "cancelled"
    # What its worker still says is heard by nobody, and wakes nobody.
    assert worker.calls.settle(call, CallResult(outcome=CallOutcome.CANCELLED, content="")) == "settled"
    assert worker.connection.llen("agents") == 0
    assert all(ms > 0 for ms in left(worker.connection).values())


async def test_a_dead_worker_is_told(client: EitherClient, worker: HandWorker, floor: Floor) -> None:
    Offers(floor.connection).announce_tools({"look_up": replace(OFFER, on_lost="report")})
    running = executing(client, "look_up", {"key": "x"})
    await asyncio.to_thread(HandWorker(floor.connection, calls=floor.dying).begun)
    floor.become_due()
    assert floor.sweep_calls() == ["lost"]
    with pytest.raises(CallFailedError, match="worker that executed this call died") as failed:
        await running
    assert failed.value.outcome is CallOutcome.LOST
    assert floor.connection.llen("agents") == 0


async def test_a_call_that_kills_its_workers_is_lost_and_not_buried(
    client: EitherClient, worker: HandWorker, floor: Floor
) -> None:
    Offers(floor.connection).announce_tools({"look_up": replace(OFFER, max_attempts=9)})
    running = executing(client, "look_up", {"key": "x"})
    dying = HandWorker(floor.connection, calls=floor.dying)
    for expected in ("pushed", "pushed", "lost"):
        await asyncio.to_thread(dying.begun)
        floor.become_due()
        assert floor.sweep_calls() == [expected]
    with pytest.raises(CallFailedError):
        await running
    assert floor.letters.latest(limit=5) == [] and floor.due_entries() == []


async def test_a_lost_message_is_sent_again(client: EitherClient, worker: HandWorker, floor: Floor) -> None:
    running = executing(client, "look_up", {"key": "x"})
    await asyncio.to_thread(worker.address)  # taken, and never acted on
    floor.become_due()
    assert floor.sweep_calls() == ["pushed"]
    await asyncio.to_thread(worker.answer, DONE)
    assert await running == "found"


async def test_nobody_takes_it_in_time(client: EitherClient, worker: HandWorker, floor: Floor) -> None:
    Offers(floor.connection).announce_tools({"look_up": replace(OFFER, queue_seconds=0.001)})
    running = executing(client, "look_up", {"key": "x"})
    await asyncio.to_thread(wait_until, lambda: floor.due_entries(), "the call is handed out")

    def swept() -> bool:
        floor.become_due()
        return floor.sweep_calls() == ["expired"]

    await asyncio.to_thread(wait_until, swept, "the call has waited too long")
    with pytest.raises(CallFailedError) as failed:
        await running
    assert failed.value.outcome is CallOutcome.EXPIRED


async def test_what_redis_no_longer_holds_is_lost(client: EitherClient, worker: HandWorker) -> None:
    running = executing(client, "look_up", {"key": "x"})
    address = await asyncio.to_thread(worker.address)
    worker.connection.delete(address.part)
    worker.connection.xadd(address.events, {"event": "junk"})
    with pytest.raises(CallFailedError, match="Redis holds this call no longer") as failed:
        await running
    assert failed.value.outcome is CallOutcome.LOST


async def test_a_pool_that_writes_junk_is_told_so(client: EitherClient, worker: HandWorker) -> None:
    running = executing(client, "look_up", {"key": "x"})
    call = await asyncio.to_thread(worker.begun)
    worker.connection.hset(call.address.part, "answer:" + call.address.tool_call_id, '{"kind": "confirmation"}')
    worker.connection.xadd(call.address.events, {"event": "junk"})
    with pytest.raises(CallFailedError, match="an answer that cannot be read"):
        await running


def test_a_call_whose_producer_died_goes_by_itself(redis_connection: redis.Redis, worker: HandWorker) -> None:
    """It is executed once, its answer is kept for a while, and no key of it stays."""
    brief = Timing(people_seconds=60, retention_seconds=60)
    call = lone_call("look_up", {}, pool=None, timeout=None, offers=Offers(redis_connection))
    handed_out = LoneCalls(redis_connection, timing=brief)
    handed_out.hand_out(call)
    handed_out.hand_out(call)  # the answer to the first was lost on the way
    assert redis_connection.llen("tools.shell") == 1
    HandWorker(redis_connection, calls=Calls(redis_connection, timing=brief, worker="w")).answer(DONE)
    kept = left(redis_connection)
    assert len(kept) == 2 and all(0 < ms <= 60_000 for ms in kept.values())
    assert redis_connection.zcard(keys.pool_due("shell")) == 0
