"""Spans of real workers as a real collector gets them, over pools, pauses, dead workers and long waits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import redis
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from agent_core.run import RunStatus
from queues import keys
from queues.client import RunHandle
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.breaking import Bench, Order
from tests.support.collector import Collector, Span
from tests.support.waiting import wait_until
from tests.support.walking import Walk, agent_worker, breakable, kill, tool_worker, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60.0
CANARY = "canary-4711"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield running


@pytest.fixture(scope="module")
def walk(
    tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer, collector: Collector
) -> Iterator[Walk]:
    with walking(tmp_path_factory.mktemp("traces"), cleared_server.url) as running:
        yield running


@pytest.fixture
def owner(embedded_server: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(embedded_server.url) as connection:
        yield connection


def told(collector: Collector, run: RunHandle, *, roots: int = 1, calls: int = 0) -> list[Span]:
    """The spans of a run that has ended, once so many roots and calls have come and nothing hangs in the air."""

    def is_whole() -> bool:
        spans = collector.of_run(run.run_id)
        ids = {span.id for span in spans}
        of_kind = [span.name.split()[0] for span in spans]
        is_joined = all(span.parent in ids for span in spans if not span.name.startswith("run "))
        return is_joined and of_kind.count("run") == roots and of_kind.count("execute_tool") == calls

    wait_until(is_whole, "all spans of the run have come", timeout_seconds=BOUND)
    return collector.of_run(run.run_id)


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def below(spans: list[Span], parent: Span) -> list[str]:
    return [span.name for span in spans if span.parent == parent.id]


def test_a_run_over_two_pools_and_two_pauses_is_one_trace(walk: Walk, collector: Collector) -> None:
    run = walk.client.submit("ops", "Twice")
    assert run.wait(timeout=BOUND).status is RunStatus.COMPLETED
    spans = told(collector, run, calls=2)
    (root,) = named(spans, "run ops")
    assert {span.trace for span in spans} == {root.trace}
    assert root.parent == "" and root.attributes["errandry.status"] == "COMPLETED" and root.error is None
    assert all(span.begun >= root.begun for span in spans)

    stretches = named(spans, "invoke_agent ops")
    assert below(spans, root) == ["queue agents", *3 * ["invoke_agent ops"]]
    assert [span.attributes["errandry.stretch.kind"] for span in stretches] == ["start", "continuation", "continuation"]
    assert [span.attributes["errandry.status"] for span in stretches] == ["PAUSED", "PAUSED", "COMPLETED"]
    first, second, third = stretches
    assert below(spans, first) == ["chat scripted", "queue tools.shell", "execute_tool run_command"]
    assert below(spans, second) == ["chat scripted", "queue tools.python", "execute_tool count_words"]
    assert below(spans, third) == ["chat scripted"]
    for stretch, turn in zip(stretches, named(spans, "chat scripted"), strict=True):
        assert root.holds(stretch) and stretch.holds(turn) and turn.kind == "CLIENT"
        assert turn.attributes["gen_ai.operation.name"] == "chat"
        assert isinstance(turn.attributes["gen_ai.usage.input_tokens"], int)
    for pool, tool in (("shell", "run_command"), ("python", "count_words")):
        (call,) = named(spans, f"execute_tool {tool}")
        (sandbox,) = named(spans, f"sandbox {tool}")
        (queued,) = named(spans, f"queue tools.{pool}")
        assert sandbox.parent == call.id and call.holds(sandbox) and queued.ended <= call.begun
        assert call.attributes["errandry.pool"] == pool and call.attributes["errandry.outcome"] == "succeeded"
        assert call.attributes["gen_ai.tool.name"] == tool and call.attributes["errandry.attempt"] == 1
        assert sandbox.attributes["errandry.sandbox.level"] == "ns"
        assert root.holds(call)
    services = {"errandry-agent-worker", "errandry-tool-worker"}
    assert {span.service for span in spans} == services


def test_inline_calls_hang_below_their_stretch(walk: Walk, collector: Collector) -> None:
    run = walk.client.submit("ops", "Everything at once")
    run.wait(timeout=BOUND)
    spans = told(collector, run, calls=3)
    first = named(spans, "invoke_agent ops")[0]
    (call,) = named(spans, "execute_tool add")
    assert call.parent == first.id and first.holds(call)
    assert sorted(below(spans, first))[:4] == [
        *("chat scripted", "execute_tool add", "execute_tool count_words", "execute_tool run_command")
    ]


def test_a_run_hangs_below_the_active_span_of_its_producer(walk: Walk, collector: Collector) -> None:
    producer = SpanContext(0xABC << 64, 0xDEF, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(producer)))
    try:
        run = walk.client.submit("ops", f"Run echo {CANARY}")
        answer = walk.client.execute("count_words", {"text": "one two"}, timeout=BOUND)
    finally:
        context.detach(token)
    run.wait(timeout=BOUND)
    spans = told(collector, run, calls=1)
    (root,) = named(spans, "run ops")
    assert {span.trace for span in spans} == {f"{producer.trace_id:032x}"}
    assert root.parent == f"{producer.span_id:016x}"
    assert answer == "2"

    def alone() -> list[Span]:
        found = named(collector.spans(), "execute_tool count_words")
        return [span for span in found if span.parent == f"{producer.span_id:016x}"]

    wait_until(alone, "the call without a run hangs there, too", timeout_seconds=BOUND)


def test_what_goes_wrong_is_an_error_of_its_span(walk: Walk, collector: Collector) -> None:
    run = walk.client.submit("ops", f"Fail with {CANARY}")
    run.wait(timeout=BOUND)
    spans = told(collector, run, calls=1)
    wrong = {span.name for span in spans if span.error is not None}
    assert wrong == {"execute_tool fail_always", "sandbox fail_always"}
    (call,) = named(spans, "execute_tool fail_always")
    assert call.error == call.attributes["error.type"] == call.attributes["errandry.outcome"] == "failed"


def test_a_worker_killed_in_the_middle_of_a_turn_leaves_one_trace(walk: Walk, collector: Collector) -> None:
    run = walk.client.submit("ops", "Think long")
    next(event for event in run.events(timeout=BOUND) if event.event == "RunStarted")
    kill(walk, "agents")
    walk.processes.start(agent_worker(walk, name="agents"))
    assert run.wait(timeout=BOUND).status is RunStatus.COMPLETED
    spans = told(collector, run)
    assert len({span.trace for span in spans}) == 1
    lost, stretch = named(spans, "invoke_agent ops")
    assert lost.error == "lost" and lost.ended <= stretch.begun
    assert stretch.attributes["errandry.stretch.kind"] == "takeover"


def test_what_a_killed_worker_has_handed_out_hangs_below_what_others_tell_of_it(
    walk: Walk, collector: Collector, embedded_server: EmbeddedServer
) -> None:
    bench = Bench(walk.settings.project_dir / "bench")
    bench.give(Order("inline.begun", 1, "kill", embedded_server.url, past=[]))
    kill(walk, "agents")
    walk.processes.start(breakable(agent_worker(walk, name="agents"), walk.settings.project_dir / "bench"))
    run = walk.client.submit("ops", "Everything at once")
    wait_until(bench.broken, "the worker has killed itself", timeout_seconds=BOUND)
    wait_until(lambda: "agents" not in walk.processes.pids(), "it is gone", timeout_seconds=BOUND)
    walk.processes.start(agent_worker(walk, name="agents"))
    assert run.wait(timeout=BOUND).status is RunStatus.COMPLETED

    spans = told(collector, run, calls=2)
    assert len({span.trace for span in spans}) == 1
    lost = next(span for span in named(spans, "invoke_agent ops") if span.error == "lost")
    assert lost.attributes["errandry.status"] == "lost"
    assert {"execute_tool run_command", "execute_tool count_words"} <= set(below(spans, lost))
    kinds = [span.attributes.get("errandry.stretch.kind") for span in named(spans, "invoke_agent ops")]
    assert kinds[:2] == [None, "takeover"]


def test_a_call_whose_worker_was_killed_is_told_of_as_lost(walk: Walk, collector: Collector, tmp_path: Path) -> None:
    run = walk.client.submit("ops", f"Print and wait for {tmp_path}/{CANARY}")
    next(event for event in run.events(timeout=BOUND) if event.event == "ToolCallExecuting")
    kill(walk, "shell")
    walk.processes.start(tool_worker(walk, "shell", name="shell"))
    run.wait(timeout=BOUND)
    spans = told(collector, run, calls=1)
    (call,) = named(spans, "execute_tool print_and_wait")
    assert call.error == "lost" and {span.trace for span in spans} == {call.trace}


def test_after_a_long_pause_the_run_goes_on_in_a_linked_trace(
    walk: Walk, collector: Collector, owner: redis.Redis
) -> None:
    run = walk.client.submit("careful", f"Ask {CANARY}")
    run.wait(timeout=BOUND, until="paused")
    age(owner, run.run_id, timedelta(minutes=11))
    (call,) = walk.client.pending(run.run_id)
    walk.client.settle(run.run_id, call.tool_call_id, result=CANARY)
    assert run.wait(timeout=BOUND).status is RunStatus.COMPLETED

    spans = told(collector, run, roots=2)
    roots = {span.attributes["errandry.status"]: span for span in named(spans, "run careful")}
    first, second = roots["PAUSED"], roots["COMPLETED"]
    assert first.trace != second.trace and {span.trace for span in spans} == {first.trace, second.trace}
    assert second.links == [(first.trace, first.id)] and second.parent == "" and not first.links
    kinds = {span.trace: span.attributes["errandry.stretch.kind"] for span in named(spans, "invoke_agent careful")}
    assert kinds == {first.trace: "start", second.trace: "continuation"}


def age(owner: redis.Redis, run_id: str, by: timedelta) -> None:
    """Make a paused run look as if it had paused so long before."""
    stored = json.loads(str(owner.hget(keys.run(run_id), "snapshot")))
    output = stored["output"]
    for record in (output, *output["tools"]):
        moment = datetime.fromisoformat(record["created_at"]) - by
        record["created_at"] = moment.isoformat()
    owner.hset(keys.run(run_id), "snapshot", json.dumps(stored))


def test_a_run_that_is_ended_from_outside_has_its_root(walk: Walk, collector: Collector) -> None:
    run = walk.client.submit("careful", "Ask nobody", deadline_seconds=3)
    assert run.wait(timeout=BOUND).status is RunStatus.ERROR
    spans = told(collector, run)
    (root,) = named(spans, "run careful")
    assert root.attributes["errandry.status"] == "ERROR" and root.error == "error"
    assert {span.trace for span in spans} == {root.trace}


def test_the_sandbox_has_nothing_of_it(walk: Walk, collector: Collector) -> None:
    run = walk.client.submit("ops", "Run tr '\\0' '\\n' < /proc/$PPID/environ; env; ls -l /proc/$PPID/fd")
    (call,) = run.wait(timeout=BOUND).tools
    told(collector, run, calls=1)
    seen = str(call.result)
    assert "PATH=" in seen and "OTEL" not in seen and str(collector.port) not in seen
    mine = set(re.findall(r"socket:\[\d+\]", seen))
    pid = walk.processes.pids()["shell"]
    links = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    assert any(link.startswith("socket:") for link in links) and not mine & links


def test_nothing_that_people_models_or_tools_wrote_is_in_any_byte(walk: Walk, collector: Collector) -> None:
    run = walk.client.submit(
        "ops", f"Run echo {CANARY}", user_id=CANARY, metadata={"note": CANARY}, idempotency_key=CANARY
    )
    assert CANARY in str(run.wait(timeout=BOUND).content)
    told(collector, run, calls=1)
    assert b"execute_tool run_command" in collector.received
    assert CANARY.encode() not in collector.received
