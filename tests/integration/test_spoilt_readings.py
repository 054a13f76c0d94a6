"""What a pool may write into its own keys stops nobody who reads of its runs, or of all runs at once."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from typing import cast

import pytest
import redis

from agent_core.events import RunPaused, ToolCallStarted
from agent_core.tools.execution import CallResult
from queues import keys
from queues.backlog import backlog
from queues.client import Client
from queues.connections import aconnect
from queues.event_stream import afollow
from queues.replies import Entry, fields
from queues.requests import NextEntries
from queues.stored_events import read_pool_event
from queues.stored_runs import FIELDS
from queues.waiting import awaited
from tests.support.queue_floor import Floor, claimed, external

pytestmark = pytest.mark.redis


@pytest.fixture
def client(redis_url: str) -> Client:
    return Client(redis_url)


def spoilt_stream(floor: Floor, run_id: str, junk: str) -> None:
    stream = keys.part_events("shell", run_id)
    floor.connection.delete(stream)
    if junk == "no stream":
        floor.connection.rpush(stream, junk)
    else:
        floor.connection.xadd(stream, {"event": b"\xff"})


def told_of(floor: Floor, run_id: str) -> list[str]:
    """Have the run's readers hear of a call of the pool; returns all that there is to hear."""
    started = ToolCallStarted(run_id=run_id, agent_name="ops", tool=external("a"))
    paused = RunPaused(run_id=run_id, agent_name="ops")
    for event in (started, paused):
        floor.connection.xadd(keys.events(run_id), {"event": event.model_dump_json(exclude_none=True)})
    said = cast(list[Entry], floor.connection.xrange(keys.events(run_id)))
    return [json.loads(entry["event"])["event"] for _, entry in said]


@pytest.mark.parametrize("junk", ["no stream", "no text"])
def test_a_reader_goes_on_without_the_pool_that_spoilt_its_stream(floor: Floor, client: Client, junk: str) -> None:
    run_id = floor.submitted()
    expected = told_of(floor, run_id)
    spoilt_stream(floor, run_id, junk)
    heard = list(client.events(run_id, timeout=0))
    assert [event.event for event in heard] == expected
    floor.connection.delete(keys.part_events("shell", run_id))
    assert list(client.events(run_id, after=heard[-1].event_id, timeout=0)) == []


def test_so_does_one_of_asyncio(floor: Floor, redis_url: str, client: Client) -> None:
    run_id = floor.submitted()
    expected = told_of(floor, run_id)
    spoilt_stream(floor, run_id, "no stream")

    async def heard() -> list[str]:
        async with aconnect(redis_url) as connection:
            return [event.event async for event in afollow(connection, client.output(run_id), deadline=0)]

    assert asyncio.run(heard()) == expected


def test_a_run_s_own_stream_is_no_pool_s(floor: Floor, client: Client) -> None:
    run_id = floor.submitted()
    spoilt_stream(floor, run_id, "no stream")
    floor.connection.delete(keys.events(run_id))
    floor.connection.set(keys.events(run_id), "no stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        list(client.events(run_id, after="0-0,shell=0-0", timeout=0))


def test_whoever_waits_for_a_run_reads_nothing_of_its_pools(floor: Floor) -> None:
    run_id = floor.submitted()
    steps = awaited(run_id, until="finished", timeout=None)
    next(steps)
    steps.send([None, *fields(floor.connection, keys.run(run_id), *FIELDS)])
    told_of(floor, run_id)
    request = steps.send([(keys.events(run_id), floor.connection.xrange(keys.events(run_id), count=1))])
    assert isinstance(request, NextEntries) and list(request.after) == [keys.events(run_id)]


@pytest.mark.parametrize(
    "said",
    [
        '{"event":"ToolCallOutput","tool_call_id":"a","tool_name":"t","pool":"p","worker":"w","content":"\\ud800"}',
        '{"event":"ToolCallSettled","tool_call_id":"a","tool_name":"t","outcome":"failed","wall_seconds":NaN}',
        '{"event":"ToolCallSettled","tool_call_id":"a","tool_name":"t","outcome":"failed","wall_seconds":1e999}',
        '{"event":"ToolCallExecuting","tool_call_id":"a","tool_name":"t","pool":"p","worker":"w",'
        '"queue_wait_seconds":"-inf"}',
    ],
)
def test_what_no_reader_could_be_sent_as_json_is_nothing_that_a_pool_tells(
    floor: Floor, client: Client, said: str
) -> None:
    output = client.output(floor.submitted())
    assert read_pool_event(output, "1-0", said) is None
    sound = said.replace("\\ud800", "x").replace("NaN", "1").replace("1e999", "1").replace('"-inf"', "1")
    assert read_pool_event(output, "1-0", sound) is not None


def test_a_pool_tells_of_its_call_and_of_nothing_else(floor: Floor, client: Client) -> None:
    output = client.output(floor.submitted())
    call = external("a").model_dump(mode="json")
    said = {"event": "ToolCallSettled", "tool_call_id": "a", "tool_name": "t", "outcome": "failed"}
    told = read_pool_event(output, "1-0", json.dumps({**said, "tools": [call], "content": ["x"], "answered_by": "Eve"}))
    assert told is not None and told.to_dict().keys() & {"tools", "content", "answered_by"} == set()


def test_what_a_run_waits_for_can_be_asked_whatever_its_pool_wrote(floor: Floor, client: Client) -> None:
    bytes_only, no_hash = (floor.paused(external("a")).run_id for _ in range(2))
    floor.connection.hset(keys.part("shell", bytes_only, 1), "answer:a", b"\xff")
    floor.connection.delete(keys.part("shell", no_hash, 1))
    floor.connection.set(keys.part("shell", no_hash, 1), "no hash")
    assert client.pending(bytes_only) == []
    assert [call.tool_call_id for call in client.pending(no_hash)] == ["a"]


def test_an_answer_that_is_no_text_is_one_that_cannot_be_read(floor: Floor) -> None:
    run_id = floor.paused(external("a")).run_id
    floor.connection.hset(keys.part("shell", run_id, 1), "answer:a", b'{"content":"\xff"}')
    answer = claimed(floor.claims, run_id).answers["a"]
    assert isinstance(answer, CallResult) and "cannot be read" in answer.content


@pytest.mark.parametrize("arguments", [None, b'[["r",Infinity,"c"]]', b'[["r",1,"\\ud800"]]'])
def test_what_waits_is_counted_whatever_lies_in_a_pool_s_queue(
    floor: Floor, redis_url: str, arguments: bytes | None
) -> None:
    message = b"\xff" if arguments is None else json.dumps({"body": b64encode(arguments).decode()}).encode()
    floor.connection.rpush("tools.shell", message)

    async def counted() -> int:
        async with aconnect(redis_url) as connection:
            found = await backlog(connection, ["shell"])
        assert found.oldest_seconds == {}
        return found.waiting["shell", "normal"]

    assert asyncio.run(counted()) == 1
