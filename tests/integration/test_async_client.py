"""What is the async client's alone: the loop goes on while it waits, and whoever is cancelled leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest

from agent_core.run import RunStatus
from queues.client import AsyncClient
from queues.errors import StoreUnreachableError
from tests.support.blocked import blocked
from tests.support.hand_worker import HandWorker
from tests.support.queue_floor import DONE, TIMING, Floor, external
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

BOUND = 30


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(redis_url, timing=TIMING) as opened:
        yield opened


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what)


async def first_event(client: AsyncClient, run_id: str) -> None:
    async with aclosing(client.events(run_id, after="9999999999999-0")) as told:
        async for _ in told:
            return


WAITS: dict[str, Callable[[AsyncClient, str], Awaitable[object]]] = {
    "wait": lambda client, run_id: client.wait(run_id),
    "events": first_event,
    "execute": lambda client, _: client.execute("look_up", {"key": "x"}, pool="shell"),
}


@pytest.mark.parametrize("name", WAITS)
async def test_who_is_cancelled_leaves_nothing_behind(name: str, client: AsyncClient, floor: Floor) -> None:
    run = floor.paused(external("a", pool=None))
    before, others = asyncio.all_tasks(), blocked(floor.connection)
    waiting = asyncio.ensure_future(WAITS[name](client, run.run_id))
    await until(lambda: len(blocked(floor.connection) - others) == 1, "it waits in Redis")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == before
    await until(lambda: not blocked(floor.connection) - others, "its connection waits no more")
    # The same connections serve the next, and the run is untouched.
    assert (await client.output(run.run_id)).status is RunStatus.PAUSED
    async with asyncio.timeout(BOUND):
        assert [event.event async for event in client.events(run.run_id, timeout=0.05)] == ["RunPaused"]


async def test_a_call_is_cancelled_with_who_waits_for_it(client: AsyncClient, floor: Floor) -> None:
    worker = HandWorker(floor.connection)
    waiting = asyncio.create_task(client.execute("look_up", {"key": "x"}, pool="shell"))
    call = await asyncio.to_thread(worker.begun)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert worker.calls.renew(call) == "cancelled"


async def test_a_call_that_is_cancelled_while_it_is_handed_out_is_cancelled(
    client: AsyncClient, floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = client._stores.lone_calls
    begun, go_on, hand_out = threading.Event(), threading.Event(), stores.hand_out

    def slowly(call: object) -> None:
        begun.set()
        assert go_on.wait(timeout=BOUND)
        hand_out(call)  # type: ignore[arg-type]

    monkeypatch.setattr(stores, "hand_out", slowly)
    waiting = asyncio.create_task(client.execute("look_up", {"key": "x"}, pool="shell"))
    await until(begun.is_set, "it is being handed out")
    waiting.cancel()
    await asyncio.sleep(0)  # it hears of that, and waits for the handing out
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    worker = HandWorker(floor.connection)
    assert worker.calls.claim(await asyncio.to_thread(worker.address)) == "cancelled"


async def test_many_wait_at_once_without_a_thread_each(client: AsyncClient, floor: Floor) -> None:
    # Whoever waits, or ends, since an earlier test is none of this client's.
    others, elder = blocked(floor.connection), set(threading.enumerate())
    runs = [floor.paused(external("a", pool=None)).run_id for _ in range(5)]
    waiting = [asyncio.create_task(client.wait(run_id)) for run_id in runs for _ in range(20)]
    await until(lambda: len(blocked(floor.connection) - others) == 100, "all wait in Redis")
    assert sum("errandry-client" in thread.name for thread in set(threading.enumerate()) - elder) <= 8
    for run_id in runs:
        await client.cancel(run_id)
    assert {output.status for output in await asyncio.gather(*waiting)} == {RunStatus.CANCELLED}


async def test_a_thousand_are_submitted_at_once(client: AsyncClient) -> None:
    runs = await asyncio.gather(*(client.submit("ops", f"input {number}") for number in range(1000)))
    assert len({run.run_id for run in runs}) == 1000
    assert len(await client.runs(limit=1000)) == 1000


async def test_calls_are_executed_side_by_side(client: AsyncClient, floor: Floor) -> None:
    worker = HandWorker(floor.connection)
    waiting = [asyncio.create_task(client.execute("look_up", {}, pool="shell", timeout=BOUND)) for _ in range(30)]
    for _ in waiting:
        await asyncio.to_thread(worker.answer, DONE)
    assert await asyncio.gather(*waiting) == ["found"] * 30


async def test_a_closed_client_gives_everything_back(redis_url: str, floor: Floor) -> None:
    run = floor.paused(external("a", pool=None))

    def connected() -> set[str]:
        return {str(entry["id"]) for entry in floor.connection.client_list() if entry["name"] == "errandry-client"}

    def threads() -> set[threading.Thread]:
        return {one for one in threading.enumerate() if "errandry-client" in one.name}

    # An earlier test may have left a client to whoever collects what is not used any more.
    before, elder = connected(), threads()
    async with AsyncClient(redis_url) as client:
        assert (await client.output(run.run_id)).is_paused
        assert [event.event async for event in client.events(run.run_id, timeout=0.05)] == ["RunPaused"]
        assert connected() - before and threads() - elder
    await until(lambda: not connected() - before, "its connections are closed")
    await until(lambda: not threads() - elder, "its threads have ended")
    with pytest.raises((RuntimeError, StoreUnreachableError)):
        await client.output(run.run_id)
