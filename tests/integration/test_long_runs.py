"""Runs of many steps on the queue: what they said is appended and not rewritten, and everybody reads them whole."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import redis

from agent_core.agent import Agent
from agent_core.errors import SnapshotSchemaError
from agent_core.models.scripted import ScriptedModel, call
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.snapshot_log import HEAD_BYTES
from agent_core.tools import tool
from agent_core.tools.execution import CallResult
from queues import keys
from queues.calls import CallAddress, ClaimedCall
from queues.client import Client
from queues.run_store import RedisRunStore
from tests.support.queue_floor import TIMING, Floor, claimed
from workers.bench.pausing import Pausing

pytestmark = pytest.mark.redis

STEPS = 30
ANSWER = "This is what the colleague said, at some length. " * 8


@dataclass
class Long:
    """A run that pauses for its pool so many times, and is answered each time."""

    floor: Floor
    pausing: Pausing
    run_id: str

    @classmethod
    def begun(cls, floor: Floor, *, steps: int = STEPS) -> Long:
        pausing = Pausing(floor.connection, timing=TIMING, pauses=steps)
        return cls(floor, pausing, pausing.pause_one(pool="shell"))

    def take_step(self) -> RunSnapshot:
        stored = self.floor.runs.load(self.run_id).snapshot
        (waiting,) = stored.pending
        address = CallAddress("shell", self.run_id, stored.step, waiting.tool_call_id, waiting.tool_name)
        held = self.floor.calls.claim(address)
        assert isinstance(held, ClaimedCall)
        begun = self.floor.calls.begin(held, sandbox_level="ns")
        assert isinstance(begun, ClaimedCall)
        assert self.floor.calls.settle(begun, CallResult(content=ANSWER)) == "last"
        return self.pausing.carry_on(self.run_id, pool="shell")

    def head(self) -> str:
        return str(self.floor.connection.hget(keys.run(self.run_id), "snapshot"))

    def log_parts(self) -> int:
        return int(self.floor.connection.hget(keys.run(self.run_id), "logged") or 0)


@pytest.fixture
def client(redis_url: str) -> Client:
    return Client(redis_url)


def assert_whole(output: RunOutput, *, steps: int) -> None:
    told = [message.content for message in output.messages if message.role == "tool"]
    assert told == [ANSWER] * steps
    assert [call.result for call in output.tools if call.is_settled] == [ANSWER] * steps
    assert output.input and output.input == output.messages[0].content


def test_a_long_run_is_whole_wherever_it_is_read(floor: Floor, client: Client, redis_url: str) -> None:
    run, text = Long.begun(floor), len(ANSWER)
    for _ in range(STEPS):
        run.take_step()
        # A head is written anew by each save: it stays short, however long the run.
        assert len(run.head()) <= HEAD_BYTES + 6 * text
    assert run.log_parts() > 3
    output = client.wait(run.run_id, timeout=10)
    assert output.status is RunStatus.COMPLETED and output.content == "green"
    in_list = client.runs(limit=1)[0]
    store = RedisRunStore(redis_url).load(run.run_id)
    assert store is not None
    for found in (output, in_list, client.output(run.run_id), store.output):
        assert_whole(found, steps=STEPS)
        assert found.to_dict() == output.to_dict()
    (brought,) = RedisRunStore(redis_url).history(str(output.session_id), limit=5)
    assert brought.output.to_dict() == output.to_dict()


def test_a_list_reads_long_and_short_runs_alike(floor: Floor, client: Client) -> None:
    long, short = Long.begun(floor), floor.submitted()
    for _ in range(10):
        long.take_step()
    other = Long.begun(floor)
    assert [output.run_id for output in client.runs()] == [other.run_id, short, long.run_id]
    assert_whole(client.runs()[2], steps=10)


def test_a_long_run_ends_from_outside_with_all_that_it_said(floor: Floor, client: Client) -> None:
    run = Long.begun(floor)
    for _ in range(10):
        run.take_step()
    assert run.log_parts() and client.cancel(run.run_id)
    output = client.output(run.run_id)
    assert output.status is RunStatus.CANCELLED
    assert [m.content for m in output.messages if m.role == "tool"] == [ANSWER] * 10


def test_a_long_run_that_failed_goes_on_where_it_was(floor: Floor, client: Client) -> None:
    run = Long.begun(floor)
    for _ in range(10):
        run.take_step()
    assert floor.repairs.expire(run.run_id) == "expired"
    client.retry(run.run_id)
    again = claimed(floor.claims, run.run_id)
    assert [m.content for m in again.snapshot.output.messages if m.role == "tool"] == [ANSWER] * 10


def test_a_run_whose_log_is_torn_is_set_aside_and_says_so(floor: Floor, client: Client) -> None:
    run = Long.begun(floor)
    for _ in range(10):
        run.take_step()
    torn = floor.connection.hget(keys.run(run.run_id), "log:1")
    floor.connection.hset(keys.run(run.run_id), "log:1", "{}")
    floor.connection.hset(keys.run(run.run_id), "waiting", "")
    assert floor.claims.claim(run.run_id, owner="agents@test") == "unreadable"
    assert "log of this run holds" in str(floor.connection.hget(keys.run(run.run_id), "parked"))
    floor.connection.hset(keys.run(run.run_id), "log:1", str(torn))
    assert_whole(claimed(floor.claims, run.run_id).snapshot.output, steps=10)


@tool(external_execution=True)
def ask_colleague(question: str) -> str:
    """Ask a colleague, who answers by hand."""
    raise NotImplementedError


def test_a_plain_process_that_shares_its_runs_appends_as_well(redis_url: str, redis_connection: redis.Redis) -> None:
    model = ScriptedModel([*[call("ask_colleague", question="Which colour?")] * STEPS, "green"])
    agent = Agent(model=model, tools=[ask_colleague], db=RedisRunStore(redis_url))
    output = agent.run("Ask which colour it is")
    for _ in range(STEPS):
        for waiting in output.tools_awaiting_external_execution:
            waiting.result = ANSWER
        output = agent.continue_run(run_id=output.run_id, updated_tools=output.tools)
        head = redis_connection.hget(keys.run(output.run_id), "snapshot")
        assert len(str(head)) <= HEAD_BYTES + 6 * len(ANSWER)
    assert output.content == "green" and int(redis_connection.hget(keys.run(output.run_id), "logged") or 0) > 3
    stored = agent.get_run_output(output.run_id)
    assert stored is not None
    assert_whole(stored, steps=STEPS)


def test_readers_of_a_run_of_a_newer_release_are_told_to_upgrade(floor: Floor, client: Client) -> None:
    run_id = floor.submitted()
    floor.connection.hset(keys.run(run_id), "snapshot", '{"schema": 7, "outcome": {}}')
    with pytest.raises(SnapshotSchemaError, match="Upgrade this process"):
        next(client.events(run_id, timeout=1))
