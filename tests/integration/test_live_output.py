"""Live output on its way to readers, against a real server: in order, once each, never after the answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import cast
from urllib.parse import urlsplit

import pytest
import redis

from agent_core.tools.execution import CallOutcome
from queues import keys
from queues.call_output import OutputTeller
from queues.calls import Calls, ClaimedCall, Output
from queues.connections import connect
from queues.leases import LeaseKeeper
from queues.replies import Entry
from tests.support.proxy import Proxy
from tests.support.queue_floor import DONE, TIMING, Floor, address, external
from tests.support.valkey import configured
from tests.support.waiting import wait_until
from workers.execution import Executor
from workers.sandbox.base import Outcome, SandboxCall, SandboxLevel, ToolDescription

pytestmark = pytest.mark.redis


def told(floor: Floor, run_id: str) -> list[str]:
    """What the pool told of the run's calls: pieces of output as they are, anything else by its name."""
    stored = cast(list[Entry], floor.connection.xrange(keys.part_events("shell", run_id)))
    events = [json.loads(fields["event"]) for _, fields in stored]
    return [event["content"] if event["event"] == "ToolCallOutput" else event["event"] for event in events]


# --- the scripts ---------------------------------------------------------------------------------------------------


def test_pieces_are_told_in_order_with_what_they_belong_to(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a")
    assert floor.calls.tell_output(call, Output(("one\n", "zwö\x1b[2J\n")))
    stored = cast(list[Entry], floor.connection.xrange(keys.part_events("shell", run.run_id)))
    assert json.loads(stored[-1][1]["event"]) == {
        "event": "ToolCallOutput",
        "run_id": run.run_id,
        "step": 1,
        "tool_call_id": "a",
        "tool_name": "look_up",
        "pool": "shell",
        "worker": "shell@test",
        "attempt": 1,
        "content": "zwö\x1b[2J\n",
    }
    assert told(floor, run.run_id) == ["ToolCallExecuting", "one\n", "zwö\x1b[2J\n"]


def test_a_piece_is_told_once_however_often_and_by_whichever_way_it_is_sent(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a")
    for _ in range(2):
        assert floor.calls.tell_output(call, Output(("1", "2")))
    assert floor.calls.tell_output(call, Output(("2", "3"), first=2))
    assert floor.calls.tell_output(call, Output(("1",)))
    for _ in range(2):
        assert floor.calls.settle(call, DONE, output=Output(("3", "4"), first=3)) in ("last", "settled")
    assert told(floor, run.run_id) == ["ToolCallExecuting", "1", "2", "3", "4", "ToolCallSettled"]


def test_after_the_answer_nothing_is_told(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a")
    floor.calls.settle(call, DONE)
    assert not floor.calls.tell_output(call, Output(("late",)))
    assert told(floor, run.run_id) == ["ToolCallExecuting", "ToolCallSettled"]
    assert not floor.connection.hexists(keys.part("shell", run.run_id, 1), "told:a")


def test_who_lost_the_call_tells_nothing_and_the_next_one_is_heard_from_its_first_piece(floor: Floor) -> None:
    run = floor.paused(external("a"), on_lost="retry", max_attempts=2)
    frozen = floor.executing(run.run_id, "a", floor.dying)
    assert floor.dying.tell_output(frozen, Output(("1", "2")))
    assert floor.sweep_calls() == ["pushed"]
    assert not floor.dying.tell_output(frozen, Output(("3",), first=3))
    again = floor.executing(run.run_id, "a")
    assert not floor.dying.tell_output(frozen, Output(("3",), first=3))
    assert floor.calls.tell_output(again, Output(("1 again",)))
    assert floor.dying.settle(frozen, DONE, output=Output(("4",), first=4)) == "stale"
    assert floor.calls.settle(again, DONE) == "last"
    pieces = [words for words in told(floor, run.run_id) if not words.startswith("ToolCall")]
    assert pieces == ["1", "2", "1 again"]


def test_what_a_failed_attempt_wrote_is_told_before_its_end(floor: Floor) -> None:
    run = floor.paused(external("a"), max_attempts=2)
    call = floor.executing(run.run_id, "a")
    assert floor.calls.settle(call, DONE, retry_after_seconds=60, output=Output(("1",))) == "retry"
    assert not floor.calls.tell_output(call, Output(("2",), first=2))
    assert told(floor, run.run_id) == ["ToolCallExecuting", "1", "ToolCallSettled"]


def test_a_pools_junk_is_no_hindrance(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a")
    part, stream = keys.part("shell", run.run_id, 1), keys.part_events("shell", run.run_id)
    floor.connection.hset(part, "told:a", "junk")
    floor.connection.delete(stream)
    floor.connection.set(stream, "no stream")
    assert floor.calls.tell_output(call, Output(("1",)))
    assert floor.calls.settle(call, DONE, output=Output(("2",), first=2)) == "last"


def test_on_a_full_server_the_answer_is_not_held_up_by_output(floor: Floor) -> None:
    for output in (Output(), Output(("1",))):
        run = floor.paused(external("a"))
        call = floor.executing(run.run_id, "a")
        with configured(floor.connection, "maxmemory", 1):
            assert floor.calls.settle(call, DONE, output=output) == "last"


def test_the_stream_goes_some_time_after_the_last_piece(floor: Floor) -> None:
    run = floor.paused(external("a"))
    call = floor.executing(run.run_id, "a")
    stream = keys.part_events("shell", run.run_id)
    floor.connection.persist(stream)
    assert floor.calls.tell_output(call, Output(("1",)))
    assert 0 < floor.connection.pttl(stream) <= TIMING.retention_seconds * 1000


# --- the thread that tells -----------------------------------------------------------------------------------------


class Saying:
    """A sandbox whose one tool says what the test has it say."""

    level = SandboxLevel.NONE
    gaps = ()

    def __init__(self, tool: Callable[[Callable[[str], object]], object]) -> None:
        self._tool = tool

    def describe(self) -> list[ToolDescription]:
        return []

    def run(self, call: SandboxCall, *, cancelled: threading.Event) -> Outcome:
        assert call.tell is not None
        self._tool(call.tell)
        return Outcome(CallOutcome.SUCCEEDED, "done", 0, 0.0, 0.0, None, False, SandboxLevel.NONE)

    def close(self) -> None:
        return


@pytest.fixture
def way(redis_url: str) -> Iterator[Proxy]:
    """The way that live output takes, and nothing else."""
    with Proxy(urlsplit(redis_url).port or 0) as proxy:
        yield proxy


@pytest.fixture
def teller(redis_url: str, way: Proxy) -> Iterator[OutputTeller]:
    port = urlsplit(redis_url).port
    connection = connect(redis_url.replace(f":{port}/", f":{way.port}/"), socket_timeout_seconds=0.5)
    teller = OutputTeller(Calls(connection, timing=TIMING, worker="shell@test"))
    yield teller
    teller.close()
    connection.close()


def execute(floor: Floor, teller: OutputTeller, tool: Callable[[Callable[[str], object]], object]) -> tuple[str, str]:
    """Have a call executed whose tool this is; what came of it, and its run."""
    run = floor.paused(external("a"))
    with closing(LeaseKeeper(floor.connection, heartbeat_seconds=1)) as leases:
        executor = Executor(floor.calls, leases, Saying(tool), worker="shell@test", teller=teller)
        return executor.execute(address(run.run_id, "a")), run.run_id


def test_readers_hear_of_it_while_the_call_is_executed(floor: Floor, teller: OutputTeller) -> None:
    heard: list[list[str]] = []

    def tool(tell: Callable[[str], object]) -> None:
        (run_id,) = [str(key).split("{")[1].split("}")[0] for key in floor.connection.keys("errandry:run:*")]
        for piece in ("1", "2", "3"):
            tell(piece)
            wait_until(lambda piece=piece: told(floor, run_id)[-1] == piece, f"{piece} is told")  # type: ignore[misc]
        heard.append(told(floor, run_id))
        tell("4")

    came_of_it, run_id = execute(floor, teller, tool)
    assert came_of_it == "succeeded"
    assert heard == [["ToolCallExecuting", "1", "2", "3"]]
    assert told(floor, run_id) == ["ToolCallExecuting", "1", "2", "3", "4", "ToolCallSettled"]


@pytest.mark.parametrize("trouble", ["stalled", "gone"])
def test_where_no_piece_gets_through_the_call_goes_on_and_its_answer_takes_them_along(
    floor: Floor, teller: OutputTeller, way: Proxy, trouble: str
) -> None:
    if trouble == "stalled":
        way.stall()
    else:
        way.target = 1

    came_of_it, run_id = execute(floor, teller, lambda tell: [tell(f"{number}") for number in range(500)])
    assert came_of_it == "succeeded"
    assert told(floor, run_id) == ["ToolCallExecuting", *(f"{number}" for number in range(500)), "ToolCallSettled"]


def test_what_was_stuck_on_the_way_and_arrives_late_is_not_told_twice(
    floor: Floor, teller: OutputTeller, way: Proxy
) -> None:
    expected = ["ToolCallExecuting", "1", "2", "ToolCallSettled"]

    def tool(tell: Callable[[str], object]) -> None:
        way.stall()
        tell("1")
        tell("2")

    _, run_id = execute(floor, teller, tool)
    assert told(floor, run_id) == expected
    way.resume()
    # Whatever waited has gone through once another call's output has.
    execute(floor, teller, lambda tell: tell("behind it"))
    assert told(floor, run_id) == expected


class Held(Calls):
    """Tells the first time only once the test lets it."""

    def __init__(self, connection: redis.Redis) -> None:
        super().__init__(connection, timing=TIMING, worker="shell@test")
        self.begun, self.go = threading.Event(), threading.Event()

    def tell_output(self, call: ClaimedCall, output: Output) -> bool:
        self.begun.set()
        assert self.go.wait(20)
        return super().tell_output(call, output)


def test_what_comes_while_others_are_on_their_way_follows_by_itself(floor: Floor) -> None:
    run = floor.paused(external("a"))
    calls = Held(floor.connection)
    with closing(OutputTeller(calls)) as teller:
        output = teller.output_of(floor.executing(run.run_id, "a"))
        output.tell("1")
        assert calls.begun.wait(20)
        output.tell("2")
        output.tell("3")
        calls.go.set()
        wait_until(lambda: told(floor, run.run_id) == ["ToolCallExecuting", "1", "2", "3"], "all of it is told")


def test_pieces_wait_for_a_server_that_takes_no_writes_just_now(floor: Floor, teller: OutputTeller) -> None:
    run = floor.paused(external("a"))
    output = teller.output_of(floor.executing(run.run_id, "a"))
    with configured(floor.connection, "maxmemory", 1):
        output.tell("1")
        with pytest.raises(redis.ResponseError):
            floor.calls.tell_output(output.call, Output(("0",)))
    wait_until(lambda: output.untold() == Output((), first=2), "it is told")
    assert told(floor, run.run_id) == ["ToolCallExecuting", "1"]
