"""A paused run costs some bytes, and nothing else; its readers and its continuation are none the worse for it."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any

import pytest
import redis

from agent_core.events import RunEvent, RunPaused
from queues import keys
from queues.client import Client
from queues.repairs import Repairs
from queues.replies import now_ms
from queues.topology import AGENTS_QUEUE, Lane
from tests.support.blocked import blocked
from tests.support.queue_floor import DONE, TIMING, Floor, claimed, external
from tests.support.valkey import configured
from tests.support.waiting import wait_until
from workers.bench.pausing import Pausing, used_bytes
from workers.sweep import Sweep

pytestmark = pytest.mark.redis

ANSWER = "one answer that is longer than what Redis keeps in place"
BOUND = 60


# Bytes and commands


@pytest.mark.parametrize("node_bytes", [4096, 1024], ids=["any server", "the embedded one"])
@pytest.mark.parametrize("pool", ["shell", None])
def test_a_paused_run_takes_less_than_four_kilobytes(
    redis_connection: redis.Redis, node_bytes: int, pool: str | None
) -> None:
    pausing = Pausing(redis_connection)
    with configured(redis_connection, "stream-node-max-bytes", node_bytes):
        pausing.pause_one(pool=pool)  # what the server needs once
        redis_connection.delete(AGENTS_QUEUE, "tools.shell")
        before = used_bytes(redis_connection)
        for _ in range(200):
            pausing.pause_one(pool=pool)
        redis_connection.delete(AGENTS_QUEUE, "tools.shell")
        assert (used_bytes(redis_connection) - before) / 200 < 4096


def test_a_pass_of_the_sweep_costs_the_same_however_many_runs_wait(redis_connection: redis.Redis) -> None:
    pausing = Pausing(redis_connection)
    sweep = Sweep(Repairs(redis_connection, timing=TIMING), pools=["shell"])

    def commands_of_a_pass() -> dict[str, int]:
        redis_connection.config_resetstat()
        assert sweep.once() == {}
        told: Any = redis_connection.info("commandstats")
        return {name: stats["calls"] for name, stats in told.items() if "config" not in name and "info" not in name}

    pausing.pause_one(pool=None)
    sweep.once()  # its script is loaded once
    few = commands_of_a_pass()
    for _ in range(500):
        pausing.pause_one(pool=None)
    assert commands_of_a_pass() == few
    assert redis_connection.zcard(keys.DUE) == 0


@pytest.mark.parametrize("lane", ["normal", "high"])
def test_calls_that_wait_in_a_backlog_cost_a_pass_one_glance(floor: Floor, lane: Lane) -> None:
    pausing = Pausing(floor.connection)
    for _ in range(60):
        pausing.pause_one(pool="shell", lane=lane)
    sweep = Sweep(Repairs(floor.connection, timing=TIMING), pools=["shell"])
    sweep.once()
    for looks in range(1, 9):
        floor.become_due()
        floor.connection.config_resetstat()
        assert sweep.once() == ({"pushed": 60} if looks % 4 == 0 else {"backlog": 60})
        told: Any = floor.connection.info("commandstats")
        assert (told["cmdstat_evalsha"]["calls"] < 10) == (looks % 4 != 0)
        assert floor.connection.zcount(keys.pool_due("shell"), "-inf", now_ms(floor.connection)) == 0


@pytest.mark.parametrize(
    "field", [{"state:a": "executing", "lease:a": 1}, {"not_before:a": 1}, {"queue_until:a": 1}, {"cancelled": 1}]
)
def test_a_glance_leaves_what_there_is_something_to_do_about(floor: Floor, field: dict[str, str | int]) -> None:
    waiting, other = floor.paused(external("a")).run_id, floor.paused(external("a")).run_id
    floor.connection.hset(keys.part("shell", other, 1), mapping=field)  # type: ignore[arg-type]
    floor.become_due()
    assert floor.repairs.glance_at("shell", limit=10) == 1
    (left,) = floor.repairs.due_calls("shell", limit=10)
    assert other in left and waiting not in left


@pytest.mark.parametrize(
    ("state", "is_left"),
    [
        ({"status": "RUNNING", "lease_until": 10**14}, False),
        ({"status": "RUNNING", "lease_until": 1}, True),
        ({"status": "RUNNING"}, False),
        ({"status": "COMPLETED"}, False),
        ({"status": "PENDING"}, True),
        ({"status": "PAUSED"}, True),
        ({"status": "PAUSED", "waiting": '[{"key": "errandry:part:shell:{x}:2", "calls": ["b"]}]'}, False),
    ],
)
def test_a_glance_forgets_answered_parts_of_runs_that_have_gone_on(
    floor: Floor, state: dict[str, str | int], is_left: bool
) -> None:
    run_id = floor.paused(external("a")).run_id
    assert floor.calls.settle(floor.executing(run_id, "a"), DONE) == "last"
    floor.connection.hset(keys.run(run_id), mapping=state)  # type: ignore[arg-type]
    floor.become_due()
    assert floor.repairs.glance_at("shell", limit=10) == 0
    assert floor.repairs.due_calls("shell", limit=10) == ([f'["{run_id}", 1]'] if is_left else [])


def test_a_run_that_goes_on_costs_the_sweep_nothing_of_its_own(floor: Floor) -> None:
    for _ in range(5):
        run_id = floor.paused(external("a")).run_id
        assert floor.calls.settle(floor.executing(run_id, "a"), DONE) == "last"
        claimed(floor.claims, run_id)
    floor.become_due()
    sweep = Sweep(floor.repairs, pools=["shell"])
    assert sweep.once() == {}
    assert floor.connection.zcard(keys.pool_due("shell")) == 0


def test_without_a_backlog_each_call_is_looked_at(floor: Floor) -> None:
    floor.paused(external("a"))
    floor.connection.delete("tools.shell")
    floor.become_due()
    assert floor.repairs.glance_at("shell", limit=10) == 0
    assert floor.sweep_calls() == ["pushed"]


# What readers are told


def test_a_pause_is_told_with_all_calls_as_they_stood(redis_url: str, redis_connection: redis.Redis) -> None:
    pausing, client = Pausing(redis_connection, pauses=2), Client(redis_url)
    run_id = pausing.pause_one(pool=None)
    (first,) = client.pending(run_id)
    client.settle(run_id, first.tool_call_id, result=ANSWER)
    pausing.carry_on(run_id)
    (second,) = client.pending(run_id)
    client.settle(run_id, second.tool_call_id, result="yes")
    pausing.carry_on(run_id)

    whole = list(client.events(run_id, timeout=10))
    assert [event.run_id for event in whole] == [run_id] * len(whole)
    assert [told_calls(event) for event in whole if event.is_paused] == [
        [(first.tool_call_id, None)],
        [(first.tool_call_id, ANSWER), (second.tool_call_id, None)],
    ]
    for position, event in enumerate(whole[:-1]):
        rest = list(client.events(run_id, after=event.event_id, timeout=10))
        assert [later.model_dump() for later in rest] == [later.model_dump() for later in whole[position + 1 :]]
    client.close()


def told_calls(event: RunEvent) -> list[tuple[str, object]]:
    return [(tool.tool_call_id, tool.result) for tool in event.tools or ()]


def test_what_a_pause_told_before_it_left_its_calls_to_others_still_reads(floor: Floor, redis_url: str) -> None:
    run = floor.dispatched(external("a", pool=None))
    in_full = RunPaused(run_id=run.run_id, agent_name="ops", tools=[external("a", pool=None)])
    floor.connection.xadd(keys.events(run.run_id), {"event": in_full.model_dump_json(exclude_none=True)})
    client = Client(redis_url)
    event = next(client.events(run.run_id, timeout=10))
    assert event.is_paused and told_calls(event) == [("a", None)]
    client.close()


def test_a_reader_that_waits_hears_what_comes_after_a_pause(redis_url: str, redis_connection: redis.Redis) -> None:
    pausing, client = Pausing(redis_connection, pauses=2), Client(redis_url)
    run_id = pausing.pause_one(pool=None)
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    others = blocked(redis_connection)

    def read() -> None:
        for event in client.events(run_id, timeout=BOUND):
            heard.put(event.event)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for name in ("RunStarted", "ToolCallStarted", "RunPaused"):
        assert heard.get(timeout=BOUND) == name
    wait_until(lambda: blocked(redis_connection) - others, "the reader waits in Redis")
    (first,) = client.pending(run_id)
    client.settle(run_id, first.tool_call_id, result="green")
    pausing.carry_on(run_id)
    told = [heard.get(timeout=BOUND) for _ in range(5)]
    assert told == ["ToolCallSettled", "RunContinued", "ToolCallCompleted", "ToolCallStarted", "RunPaused"]
    wait_until(lambda: blocked(redis_connection) - others, "the reader waits in Redis")
    client.cancel(run_id)
    assert heard.get(timeout=BOUND) == "RunCancelled"
    reader.join(timeout=BOUND)
    client.close()


# Continuations


@pytest.mark.parametrize("pool", ["shell", None])
def test_each_continuation_is_rendered_for_its_push(floor: Floor, pool: str | None) -> None:
    """Two under one delivery tag would overwrite each other among Kombu's unacknowledged messages."""
    run = floor.paused(external("a", pool))
    if pool:
        floor.calls.settle(floor.executing(run.run_id, "a"), DONE)
    else:
        floor.runs.answer(floor.runs.load(run.run_id), "a", DONE)
    first = message_of(floor)
    floor.repairs.look_at_run(run.run_id)
    second = message_of(floor)
    assert first["properties"].pop("delivery_tag") != second["properties"].pop("delivery_tag")
    assert first == second
    assert (first["headers"]["task"], first["headers"]["id"]) == ("agents.ops", f"{run.run_id}:1")


def message_of(floor: Floor) -> dict[str, Any]:
    """The only message in the agents' queue, taken out."""
    assert floor.continuations() == 1
    message: dict[str, Any] = json.loads(str(floor.connection.rpop(AGENTS_QUEUE)))
    return message
