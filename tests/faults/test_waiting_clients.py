"""The server dies while producers wait: they go on waiting, and get what they waited for once it is back."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from agent_core.run import RunStatus
from queues.embedded import EmbeddedServer
from tests.support.either_client import KINDS, either_client
from tests.support.hand_worker import HandWorker
from tests.support.queue_floor import DONE, TIMING, Floor, external
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.fault]

BOUND = 60


@pytest.mark.parametrize("kind", KINDS)
async def test_a_restarted_server_ends_no_waiting(kind: str, embedded_server: EmbeddedServer, floor: Floor) -> None:
    run = floor.paused(external("a"))
    async with either_client(kind, embedded_server.url, timing=TIMING) as client:
        ended = asyncio.create_task(client.wait(run.run_id, timeout=BOUND))
        answered = asyncio.create_task(client.execute("look_up", {"key": "x"}, pool="python", timeout=BOUND))
        worker = HandWorker(floor.connection, "python")
        call = await asyncio.to_thread(worker.begun)

        def both_wait() -> bool:
            return int(floor.connection.info("clients")["blocked_clients"]) == 2

        await asyncio.to_thread(wait_until, both_wait, "both wait")
        os.kill(embedded_server.pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: not embedded_server.is_alive, "the server is gone")
        assert await asyncio.to_thread(embedded_server.revive)
        assert worker.calls.settle(call, DONE) == "settled"
        assert await client.cancel(run.run_id, "enough")
        assert await answered == "found"
        assert (await ended).status is RunStatus.CANCELLED
