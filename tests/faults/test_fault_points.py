"""A worker is killed at every event of the telemetry table; afterwards nothing is lost, and nothing was done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.run import RunStatus
from agent_core.telemetry import EVENTS
from agent_core.tools.execution import CallOutcome
from queues.embedded import EmbeddedServer
from tests.support.waiting import wait_until
from tests.support.walking import Walk, agent_worker, dying, kill, tool_worker, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60
# One run of "Everything at once": its start, the calls handed out, the pause, the continuation, the end.
AGENT_POINTS = [
    "run.claimed:1",
    *(f"{event}:{occurrence}" for occurrence in range(1, 4) for event in ("run.saving", "run.saved")),
    "run.claimed:2",
    *(f"{event}:{occurrence}" for occurrence in range(4, 6) for event in ("run.saving", "run.saved")),
]
TOOL_POINTS = ["call.claimed:1", "call.begun:1", "call.executed:1", "call.settled:1"]
# What happened between claim and begin is known: nothing. From then on the outcome of the call is unknown.
CERTAIN = ("call.claimed:1", "call.settled:1")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, embedded_server: EmbeddedServer) -> Iterator[Walk]:
    embedded_server.revive()
    with walking(tmp_path_factory.mktemp("points"), embedded_server.url, lease_seconds=1.5) as running:
        yield running


def test_every_event_of_the_table_is_a_point() -> None:
    tried = {point.partition(":")[0] for point in (*AGENT_POINTS, *TOOL_POINTS)}
    # The sweep has no state of its own: dying after a look is dying after the script that looked.
    assert tried == set(EVENTS) - {"sweep.looked"}


@pytest.mark.parametrize("point", AGENT_POINTS)
def test_an_agent_worker_dies(walk: Walk, tmp_path: Path, point: str) -> None:
    kill(walk, "agents")
    walk.processes.start(dying(agent_worker(walk, name="agents"), at=point, flag=tmp_path / "died"))
    outcomes = run_and_replace(walk, tmp_path, "agents")
    assert set(outcomes) <= {CallOutcome.SUCCEEDED, CallOutcome.LOST}
    # Only the inline call belongs to the worker that died; it may be lost, those of the pools are not.
    assert outcomes[0] is outcomes[1] is CallOutcome.SUCCEEDED


@pytest.mark.parametrize("point", TOOL_POINTS)
def test_a_tool_worker_dies(walk: Walk, tmp_path: Path, point: str) -> None:
    kill(walk, "shell")
    walk.processes.start(dying(tool_worker(walk, "shell", name="shell"), at=point, flag=tmp_path / "died"))
    outcomes = run_and_replace(walk, tmp_path, "shell")
    expected = CallOutcome.SUCCEEDED if point in CERTAIN else CallOutcome.LOST
    assert outcomes == [expected, CallOutcome.SUCCEEDED, CallOutcome.SUCCEEDED]


def run_and_replace(walk: Walk, folder: Path, name: str) -> list[CallOutcome | None]:
    """Carry a run through the death of a worker; returns the outcomes of its calls, each of which came up once."""
    run = walk.client.submit("ops", "Everything at once")
    wait_until((folder / "died").exists, "the worker has died", timeout_seconds=BOUND)
    wait_until(lambda: name not in walk.processes.pids(), f"{name} is gone", timeout_seconds=BOUND)
    command = agent_worker(walk, name=name) if name == "agents" else tool_worker(walk, name, name=name)
    walk.processes.start(command)
    output = run.wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED, (output.status, output.error)
    told = [message.tool_call_id for message in output.messages if message.role == "tool"]
    assert told == [call.tool_call_id for call in output.tools] and len(told) == 3
    begun = Counter(getattr(event, "tool_call_id", "") for event in run.events() if event.event == "ToolCallExecuting")
    assert set(begun.values()) == {1}
    return [call.outcome for call in output.tools]
