"""Tools that write as much as they can, while readers are told of it: Redis stays small, and the call is settled."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import cast

import pytest

from agent_core.tools.execution import CallOutcome, CallResult
from queues import keys
from queues.call_output import OutputTeller
from queues.leases import LeaseKeeper
from queues.replies import Entry
from queues.settings import SandboxSettings
from tests.support.levels import opened_at, project_with
from tests.support.queue_floor import Floor, address, external
from workers.execution import Executor
from workers.sandbox.base import Sandbox, SandboxLevel
from workers.sandbox.live import CUT

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's"),
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(240),
]

TOOLS = """
import os

def look_up(key: str) -> str:
    way, amount = key.split()
    if way == "turns":
        for _ in range(int(amount)):
            os.write(1, b"o")
            os.write(2, b"e")
        return "done"
    block = b"x" * (1 << 20)
    for _ in range(int(amount)):
        rest = memoryview(block)
        while rest:
            rest = rest[os.write({"stdout": 1, "stderr": 2}[way], rest) :]
    return "done"
"""
# In MiB; at a GiB the tool would be stopped for it.
GIGABYTE = 1000
STDOUT_KB = 16


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    project = project_with(tmp_path_factory.mktemp("flood") / "project", TOOLS)
    settings = SandboxSettings(cpu_seconds=100, wall_seconds=100, stdout_kb=STDOUT_KB)
    with closing(opened_at(SandboxLevel.NS, settings, project, "look_up")) as sandbox:
        yield sandbox


@pytest.mark.parametrize("key", [f"stdout {GIGABYTE}", "stderr 50", "turns 100000"])
def test_a_flood_neither_fills_redis_nor_keeps_the_call_from_its_end(sandbox: Sandbox, floor: Floor, key: str) -> None:
    run = floor.paused(external("a").model_copy(update={"tool_args": {"key": key}}))
    with ExitStack() as stack:
        leases = stack.enter_context(closing(LeaseKeeper(floor.connection, heartbeat_seconds=1)))
        teller = stack.enter_context(closing(OutputTeller(floor.calls)))
        executor = Executor(floor.calls, leases, sandbox, worker="shell@test", teller=teller)
        assert executor.execute(address(run.run_id, "a")) == "succeeded"

    stream = keys.part_events("shell", run.run_id)
    events = [json.loads(fields["event"]) for _, fields in cast(list[Entry], floor.connection.xrange(stream))]
    assert events[0]["event"] == "ToolCallExecuting" and events[-1]["event"] == "ToolCallSettled"
    pieces = [event["content"] for event in events[1:-1]]
    assert {event["event"] for event in events[1:-1]} == {"ToolCallOutput"}
    assert "".join(pieces).endswith(CUT) and len("".join(pieces)) == STDOUT_KB * 1024 + 1
    assert cast(int, floor.connection.memory_usage(stream)) < 4 * STDOUT_KB * 1024
    answer = CallResult.model_validate_json(str(floor.connection.hget(keys.part("shell", run.run_id, 1), "answer:a")))
    assert (answer.outcome, answer.metrics.pool) == (CallOutcome.SUCCEEDED, "shell")
