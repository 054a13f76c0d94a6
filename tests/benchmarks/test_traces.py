"""What traces cost a worker: while nobody asks for them, and while spans go to a collector."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import redis

from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel, call
from agent_core.run import RunSnapshot, RunStatus
from agent_core.telemetry import emit
from agent_core.tools import tool
from agent_core.tools.execution import CallOutcome, CallResult
from queues import parts
from queues.calls import CallAddress, Calls, ClaimedCall
from queues.claims import ClaimedRun, Claims
from queues.journal import QueueJournal
from queues.leases import Lease
from queues.parts import Routing
from queues.run_store import RedisRunStore
from queues.runs import Runs
from queues.timing import Timing
from workers.bench.pairs import compare
from workers.execution import tell_settled, told_of
from workers.exporters.tracing import NO_TRACES, Traces, open_traces

pytestmark = pytest.mark.benchmark

TIMING = Timing()
ROUTING = Routing(pools={"look_up": "shell"}, queue_seconds={})
COLLECTOR = """
import time
from tests.support.collector import Collector
with Collector() as collector:
    print(collector.endpoint, flush=True)
    time.sleep(3600)
"""


@tool(external_execution=True)
def look_up(key: str) -> str:
    """Look something up."""
    raise NotImplementedError


class Workers:
    """Carry one run with one call of a pool after the other on: real, but for the model's endpoint and the sandbox."""

    def __init__(self, connection: redis.Redis) -> None:
        self._store = RedisRunStore.on(connection, timing=TIMING)
        self._claims = Claims(connection, timing=TIMING)
        self._runs = Runs(connection, timing=TIMING)
        self._calls = Calls(connection, timing=TIMING, worker="shell@test")

    def one_run(self, traces: Traces | None) -> None:
        """From its submit to its end; with None also without the places where traces would come in."""
        agent = Agent(name="ops", model=ScriptedModel([call("look_up", key="x"), "done"]), tools=[look_up])
        snapshot = RunSnapshot.create(agent_name="ops", input="hello")
        run_id = self._runs.create(snapshot, agent="ops", lane="normal")
        asked = self._advance(agent, run_id, traces)
        self._execute(CallAddress("shell", run_id, 1, asked.pending[0].tool_call_id, "look_up"), traces)
        assert self._advance(agent, run_id, traces).status is RunStatus.COMPLETED

    def _advance(self, agent: Agent, run_id: str, traces: Traces | None) -> RunSnapshot:
        run = self._claims.claim(run_id, owner="agents@test")
        assert isinstance(run, ClaimedRun)
        with traces.stretch(run) if traces is not None else nullcontext():
            journal = QueueJournal(
                self._claims,
                run,
                store=self._store,
                functions=agent.functions(),
                routing=ROUTING,
                lease=Lease(self._claims.renewal(run), None),
                task_id=run_id,
            )
            for event in agent.advance(run.snapshot, answers=run.answers, journal=journal, stream=True):
                journal.tell(event)
            saved = journal.run.snapshot
            status = saved.status.value
            emit("run.left", run_id=run_id, agent="ops", step=saved.step, status=status, age_seconds=0.1)
        return saved

    def _execute(self, address: CallAddress, traces: Traces | None) -> None:
        claimed = self._calls.claim(address)
        assert isinstance(claimed, ClaimedCall)
        with traces.call(claimed) if traces is not None else nullcontext():
            begun = self._calls.begin(claimed, sandbox_level="ns")
            assert isinstance(begun, ClaimedCall)
            told = {**told_of(address), "attempt": 1}
            emit("call.begun", **told)
            result = CallResult(outcome=CallOutcome.SUCCEEDED, content="found")
            emit("call.executed", **told, outcome="succeeded", wall_seconds=0.1, sandbox_level="ns")
            tell_settled(begun, result, self._calls.settle(begun, result), since=0.0)


@pytest.fixture
def endpoint() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def test_off_over_before(
    redis_connection: redis.Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = Workers(redis_connection)
    looks_for_a_span = parts.traceparent_here  # type: ignore[attr-defined]

    def before() -> None:
        monkeypatch.setattr(parts, "traceparent_here", lambda: None)
        workers.one_run(None)

    def off() -> None:
        monkeypatch.setattr(parts, "traceparent_here", looks_for_a_span)
        workers.one_run(NO_TRACES)

    comparison = compare(before, off, pairs=40, repeats=10)
    with capsys.disabled():
        print(comparison.table("a run with one call: nobody traces, over a worker that could not"))


def test_on_over_off(
    redis_connection: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    endpoint: str,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    workers = Workers(redis_connection)

    def on() -> None:
        # Opened and closed within the sample, so that it pays for sending its spans, too.
        traces = open_traces("errandry-benchmark", instance="me")
        for _ in range(20):
            workers.one_run(traces)
        traces.close()

    def off() -> None:
        for _ in range(20):
            workers.one_run(NO_TRACES)

    comparison = compare(off, on, pairs=20)
    with capsys.disabled():
        print(comparison.table("20 runs with one call each: spans sent, over nobody tracing"))
