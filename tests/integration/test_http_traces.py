"""Traces through the gateway: from a caller's header into the run, and to executors over HTTP and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext

from queues import keys
from queues.claims import Claims
from queues.client import AsyncClient
from queues.runs import Runs
from queues.timing import Timing
from queues.tracing import TracePlace, under
from tests.support.collector import Collector, Span
from tests.support.gateways import Served, project, serving
from tests.support.queue_floor import Floor, at_step_one, claimed, external, parts
from tests.support.redis_users import nobody_refused
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

POOLS = {"remote": {"tools": ["t:look_up"], "served_by": "http"}}
CALLER = TracePlace(9 << 100, 3)
STRETCH = TracePlace(9 << 100, 4)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield running


@pytest.fixture
def served(tmp_path: Path, redis_url: str, collector: Collector) -> Iterator[Served]:
    with nobody_refused(redis_url), serving(project(tmp_path, redis_url, pools=POOLS)) as found:
        yield found


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    with served.asking() as asking:
        yield asking


@pytest.mark.parametrize(("header", "kept"), [(CALLER.written(), CALLER.written()), ("junk", None), (None, None)])
def test_a_run_belongs_to_the_trace_of_its_submit(
    client: httpx2.Client, redis_connection: redis.Redis, header: str | None, kept: str | None
) -> None:
    headers = {} if header is None else {"traceparent": header}
    answer = client.post("/v1/runs", json={"agent": "ops", "input": "hello"}, headers=headers)
    assert answer.status_code == 201
    stored = Runs(redis_connection, timing=Timing()).load(answer.json()["run_id"]).snapshot
    assert stored.traceparent == kept


def handed_out(floor: Floor, traceparent: str | None) -> str:
    """A run whose only call waits in the pool, and under which span it was handed out."""
    run = claimed(floor.claims, floor.submitted())
    calls = [external("a", pool="remote")]
    with under(traceparent):
        floor.claims.checkpoint(run, at_step_one(run.snapshot, calls), parts(run, calls), [])
    return run.run_id


def spans_of(collector: Collector, run_id: str, *, at_least: int) -> list[Span]:
    wait_until(lambda: len(collector.of_run(run_id)) >= at_least, "the spans have come", timeout_seconds=30)
    return collector.of_run(run_id)


def test_an_executor_is_told_where_its_own_spans_belong(
    client: httpx2.Client, floor: Floor, collector: Collector
) -> None:
    run_id = handed_out(floor, STRETCH.written())
    call = client.post("/v1/pools/remote/claim", json={"executor": "laptop:1"}).json()
    place = TracePlace.read(call["traceparent"])
    assert place is not None and place.trace_id == STRETCH.trace_id
    settlement = {"lease": call["lease"], "outcome": "failed", "content": "canary-4711"}
    for _ in range(2):  # the answer to the first one was lost on its way
        assert client.post(call["path"] + "/settle", json=settlement).status_code == 200
    wait, executed = spans_of(collector, run_id, at_least=2)
    assert (wait.name, executed.name) == ("queue tools.remote", "execute_tool look_up")
    assert executed.id == f"{place.span_id:016x}" and executed.service == "errandry-gateway"
    assert wait.parent == executed.parent == f"{STRETCH.span_id:016x}"
    assert executed.error == "failed" and wait.ended <= executed.ended
    assert executed.attributes["errandry.sandbox.level"] == "external"
    assert b"canary-4711" not in collector.received


def test_answers_under_a_lease_that_is_not_held_are_not_told(
    client: httpx2.Client, floor: Floor, collector: Collector
) -> None:
    run_id = handed_out(floor, STRETCH.written())
    call = client.post("/v1/pools/remote/claim", json={"executor": "laptop:1"}).json()
    stale = {"lease": call["lease"][:-4] + "AAAA", "outcome": "succeeded", "content": "forged"}
    assert client.post(call["path"] + "/settle", json=stale).status_code == 409
    true = {"lease": call["lease"], "outcome": "failed", "content": "true"}
    assert client.post(call["path"] + "/settle", json=true).status_code == 200
    executed = [span for span in spans_of(collector, run_id, at_least=2) if span.name.startswith("execute_tool")]
    assert [span.error for span in executed] == ["failed"]


def test_a_run_that_is_cancelled_through_the_gateway_has_its_root(
    client: httpx2.Client, floor: Floor, collector: Collector
) -> None:
    run_id = floor.submitted()
    assert client.post(f"/v1/runs/{run_id}/cancel", json={"reason": "canary-4711"}).status_code == 200
    (root,) = spans_of(collector, run_id, at_least=1)
    assert root.name == "run ops" and root.parent == "" and root.attributes["errandry.status"] == "CANCELLED"
    assert root.error is None and b"canary-4711" not in collector.received


def test_a_gateway_that_does_not_trace_hands_on_where_the_call_belongs(
    tmp_path: Path, redis_url: str, floor: Floor
) -> None:
    with serving(project(tmp_path, redis_url, pools=POOLS)) as served, served.asking() as client:
        for traceparent in (STRETCH.written(), None):
            handed_out(floor, traceparent)
            call = client.post("/v1/pools/remote/claim", json={"executor": "laptop:1"}).json()
            assert call["traceparent"] == traceparent


async def test_the_span_that_is_active_in_a_task_goes_along_into_the_clients_threads(
    redis_url: str, redis_connection: redis.Redis
) -> None:
    async with AsyncClient(redis_url) as client:
        token = context.attach(trace.set_span_in_context(NonRecordingSpan(SpanContext(6, 7, is_remote=False))))
        try:
            run = await client.submit("ops", "hello")
        finally:
            context.detach(token)
        other = await client.submit("ops", "hello")
    runs = Runs(redis_connection, timing=Timing())
    assert runs.load(run.run_id).snapshot.traceparent == TracePlace(6, 7, sampled=False).written()
    assert runs.load(other.run_id).snapshot.traceparent is None


def test_runs_that_were_stored_without_it_go_on(floor: Floor, redis_connection: redis.Redis) -> None:
    run_id = floor.submitted()
    assert "trace" not in str(redis_connection.hget(keys.run(run_id), "snapshot"))
    run = claimed(Claims(redis_connection, timing=Timing()), run_id)
    assert run.snapshot.traceparent is None
    assert run.snapshot.trace_began_at is None and run.snapshot.stretch_began_at is None
