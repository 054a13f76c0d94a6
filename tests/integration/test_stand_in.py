"""The process that renews leases while its worker is silent: what it was told last is what it renews."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import redis

from queues import keys
from queues.scripts import ScriptCall
from queues.stand_in import Orders, StandIn
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

# Who is told three things one after the other must not take a pause between them for silence.
HEARTBEAT_SECONDS = 0.5


@pytest.fixture
def stand_in(redis_url: str) -> Iterator[StandIn]:
    started = StandIn(Orders(redis_url, HEARTBEAT_SECONDS))
    yield started
    started.close()


def held(connection: redis.Redis, run_id: str) -> ScriptCall:
    """What renews a run that is held, and has no lease so far."""
    connection.hset(keys.run(run_id), mapping={"epoch": 1, "status": "RUNNING"})
    return ScriptCall("renew_run", [keys.run(run_id), keys.DUE], [run_id, 1, 5000])


def is_renewed(connection: redis.Redis, run_id: str) -> bool:
    return connection.hexists(keys.run(run_id), "lease_until")


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_held_is_renewed_and_what_was_let_go_is_not(
    redis_connection: redis.Redis, stand_in: StandIn, at_once: bool
) -> None:
    gone = stand_in.hold(held(redis_connection, "gone"))
    stand_in.let_go(gone, at_once=at_once)
    stand_in.hold(held(redis_connection, "kept"))
    redis_connection.hdel(keys.run("gone"), "lease_until")
    wait_until(lambda: is_renewed(redis_connection, "kept"), "the silent worker's run is renewed")
    assert not is_renewed(redis_connection, "gone")


def test_one_that_died_is_started_anew_and_told_everything(redis_connection: redis.Redis, stand_in: StandIn) -> None:
    first, second = (stand_in.hold(held(redis_connection, run_id)) for run_id in ("first", "second"))
    stand_in.let_go(first, at_once=False)
    assert stand_in.pid is not None and first != second
    died = stand_in.pid
    os.kill(died, signal.SIGKILL)

    def is_replaced() -> bool:
        stand_in.live()
        return stand_in.pid not in (None, died)

    wait_until(is_replaced, "a heartbeat finds it dead")
    for run_id in ("first", "second"):
        redis_connection.hdel(keys.run(run_id), "lease_until")
    wait_until(lambda: is_renewed(redis_connection, "second"), "what is still held is renewed")
    assert not is_renewed(redis_connection, "first")
