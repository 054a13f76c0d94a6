"""Spans of runs and calls, as they are made of what is told: which trace, below what, and never in the way of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_core.run import RunSnapshot, RunStatus
from agent_core.telemetry import emit
from agent_core.tools.execution import CallMetrics, CallOutcome, CallResult, ToolExecution
from queues.calls import CallAddress, ClaimedCall
from queues.claims import ClaimedRun
from queues.protocol import CallRequest
from queues.tracing import TracePlace, traceparent_here
from workers.exporters.span_sink import SpanSink
from workers.exporters.spans import Spans

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
PRODUCER = TracePlace(7 << 100, 5)


class Bench:
    """A process that traces, on a clock of the test's; its spans can be looked at once it is closed."""

    def __init__(self, service: str = "test") -> None:
        self.exporter = InMemorySpanExporter()
        self.now = BEGAN
        self.sink = SpanSink(self.exporter, service=service, instance="me")
        self.spans = Spans(self.sink, clock=lambda: round(self.now.timestamp() * 1_000_000) * 1000)

    def after(self, **later: float) -> None:
        self.now += timedelta(**later)

    def told(self) -> dict[str, list[ReadableSpan]]:
        self.spans.close()
        found: dict[str, list[ReadableSpan]] = {}
        for span in self.exporter.get_finished_spans():
            found.setdefault(span.name, []).append(span)
        return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.spans.close()


def a_run(*, traceparent: str | None = None) -> ClaimedRun:
    snapshot = RunSnapshot.create(
        agent_name="ops", input="hello", run_id="run_1", traceparent=traceparent, clock=lambda: BEGAN
    )
    return ClaimedRun("run_1", "ops", "normal", "1", "1", snapshot, {})


def stretch(bench: Bench, run: ClaimedRun, status: RunStatus, *, asks: ToolExecution | None = None) -> str | None:
    """Carry the run on to the status, with what it asks for; returns under which span calls were handed out."""
    with bench.spans.stretch(run):
        handed_out = traceparent_here()
        bench.after(seconds=1)
        run.snapshot.output.status = status
        if asks is not None:
            run.snapshot.step, run.snapshot.output.tools = 1, [asks]
        emit("run.left", run_id=run.run_id, agent=run.agent, step=1, status=status.value, age_seconds=0.0)
    return handed_out


def pause(bench: Bench, run: ClaimedRun, *, pool: str | None = None) -> None:
    call = ToolExecution(
        tool_call_id="c", tool_name="ask", step=1, pool=pool, external_execution_required=True, created_at=bench.now
    )
    stretch(bench, run, RunStatus.PAUSED, asks=call)


def stored(run: ClaimedRun) -> ClaimedRun:
    """As the next worker finds it."""
    snapshot = RunSnapshot.from_json(run.snapshot.to_json())
    return replace(run, epoch=str(int(run.epoch) + 1), snapshot=snapshot)


@pytest.mark.parametrize(("minutes", "traces"), [(9, 1), (11, 2)])
def test_only_a_long_pause_begins_another_trace(bench: Bench, minutes: float, traces: int) -> None:
    run = a_run()
    pause(bench, run)
    bench.after(minutes=minutes)
    run = stored(run)
    pause(bench, run)
    run = stored(run)
    stretch(bench, run, RunStatus.COMPLETED)
    told = bench.told()
    roots = told["run ops"]
    assert len({span.context.trace_id for spans in told.values() for span in spans}) == len(roots) == traces
    assert all(root.parent is None for root in roots)
    last = roots[-1]
    assert last.attributes is not None and last.attributes["errandry.status"] == "COMPLETED"
    # The second continuation, after no pause to speak of, is in the trace of the first one.
    stretches = told["invoke_agent ops"]
    assert [span.parent and span.parent.span_id for span in stretches[1:]] == [last.context.span_id] * 2
    if traces == 2:
        first = roots[0]
        assert [link.context.span_id for link in last.links] == [first.context.span_id]
        assert first.end_time is not None and stretches[1].start_time is not None
        assert first.end_time <= stretches[1].start_time and last.start_time == stretches[1].start_time


def test_a_retry_begins_another_trace_and_each_retry_its_own(bench: Bench) -> None:
    run = a_run()
    stretch(bench, run, RunStatus.ERROR)
    for ends in (RunStatus.ERROR, RunStatus.COMPLETED):
        run = stored(run)
        stretch(bench, run, ends)
    told = bench.told()
    first, *others = told["run ops"]
    assert len({span.context.trace_id for span in told["run ops"]}) == 3
    assert {link.context.span_id for span in others for link in span.links} == {first.context.span_id}
    kinds = [span.attributes and span.attributes["errandry.stretch.kind"] for span in told["invoke_agent ops"]]
    assert kinds == ["start", "retry", "retry"]


def test_what_is_handed_out_names_the_stretch_and_its_sampling(bench: Bench) -> None:
    run = a_run(traceparent=PRODUCER.written())
    handed_out = TracePlace.read(stretch(bench, run, RunStatus.COMPLETED))
    assert traceparent_here() is None
    (span,) = bench.told()["invoke_agent ops"]
    assert handed_out == TracePlace(PRODUCER.trace_id, span.context.span_id)


def test_what_the_producer_does_not_sample_is_not_told_by_anybody(bench: Bench) -> None:
    run = a_run(traceparent=replace(PRODUCER, sampled=False).written())
    handed_out = stretch(bench, run, RunStatus.COMPLETED)
    place = TracePlace.read(handed_out)
    assert place is not None and not place.sampled
    with bench.spans.call(a_call(handed_out)):
        pass
    assert bench.told() == {}


def test_the_sampler_of_the_environment_decides_for_runs_without_a_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    bench = Bench()
    handed_out = stretch(bench, a_run(), RunStatus.COMPLETED)
    with bench.spans.call(a_call(handed_out)), bench.spans.call(replace(a_call(None), epoch="2")):
        pass
    assert bench.told() == {}


def a_call(traceparent: str | None, *, agent: str = "ops") -> ClaimedCall:
    request = CallRequest(
        run_id="run_1", step=1, tool_call_id="c", tool_name="look_up", tool_args={}, traceparent=traceparent
    )
    return ClaimedCall(CallAddress("shell", "run_1", 1, "c", "look_up"), request, "1", 0.5, agent, "normal")


@pytest.mark.parametrize("traceparent", [None, "", "00-junk", "x" * 5000])
def test_a_call_without_a_place_of_its_own_hangs_below_its_run(bench: Bench, traceparent: str | None) -> None:
    run = a_run()
    with bench.spans.call(a_call(traceparent)):
        bench.after(seconds=1)
    stretch(bench, run, RunStatus.COMPLETED)
    told = bench.told()
    (root,), (call,), (wait,) = told["run ops"], told["execute_tool look_up"], told["queue tools.shell"]
    for span in (call, wait):
        assert span.context.trace_id == root.context.trace_id
        assert span.parent is not None and span.parent.span_id == root.context.span_id
    assert wait.end_time == call.start_time and call.end_time is not None and wait.start_time is not None


def test_a_call_without_a_run_is_its_own_root(bench: Bench) -> None:
    with bench.spans.call(a_call(None, agent="")):
        pass
    (call,) = bench.told()["execute_tool look_up"]
    assert call.parent is None


def test_a_call_that_nobody_executed_is_told_by_the_continuation(bench: Bench) -> None:
    run = a_run()
    pause(bench, run, pool="shell")
    run = stored(run)
    lost = CallResult(outcome=CallOutcome.LOST, content="gone", metrics=CallMetrics(pool="shell"))
    stretch(bench, replace(run, answers={"c": lost}), RunStatus.COMPLETED)
    (call,) = bench.told()["execute_tool ask"]
    assert call.attributes is not None and call.attributes["error.type"] == "lost"


def test_a_call_that_a_worker_told_of_is_not_told_again(bench: Bench) -> None:
    run = a_run()
    pause(bench, run, pool="shell")
    run = stored(run)
    measured = CallMetrics(pool="shell", wall_seconds=3.0)
    lost = CallResult(outcome=CallOutcome.LOST, content="stopped", metrics=measured)
    stretch(bench, replace(run, answers={"c": lost}), RunStatus.COMPLETED)
    assert "execute_tool ask" not in bench.told()


def test_a_run_ended_from_outside_after_a_long_pause_ends_its_second_trace(bench: Bench) -> None:
    run = a_run()
    pause(bench, run)
    bench.after(minutes=11)
    run = stored(run)
    pause(bench, run)
    snapshot = stored(run).snapshot
    bench.after(minutes=1)
    emit(
        "run.ended",
        run_id="run_1",
        agent="ops",
        step=1,
        status="CANCELLED",
        age_seconds=(bench.now - BEGAN).total_seconds(),
        traceparent=snapshot.traceparent,
        trace_began_at=snapshot.trace_began_at,
    )
    told = bench.told()
    first, second = told["run ops"]
    assert second.parent is None and [link.context for link in second.links] == [first.context]
    assert second.start_time == told["invoke_agent ops"][1].start_time


def test_two_processes_make_the_same_ids(bench: Bench) -> None:
    other = Bench()
    for each in (bench, other):
        with each.spans.call(a_call(None)):
            pass
        stretch(each, a_run(), RunStatus.COMPLETED)

    def ids(told: dict[str, list[ReadableSpan]]) -> set[tuple[str, int, int]]:
        known = ("run ops", "invoke_agent ops", "execute_tool look_up")
        return {(name, span.context.trace_id, span.context.span_id) for name in known for span in told[name]}

    assert ids(bench.told()) == ids(other.told())


class BrokenSink(SpanSink):
    """Takes nothing."""

    def tell(self, *_: object, **__: object) -> None:
        raise RuntimeError("no")

    def samples(self, *_: object, **__: object) -> bool:
        raise RuntimeError("no")


@pytest.mark.parametrize("part", ["stretch", "call", "lent", "heard"])
def test_what_is_wrong_with_spans_is_not_the_works_business(
    bench: Bench, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    spans = Spans(BrokenSink(bench.exporter, service="test", instance="me"))
    done: list[str] = []
    works: dict[str, Callable[[], object]] = {
        "stretch": lambda: within(spans.stretch(a_run()), done),
        "call": lambda: within(spans.call(a_call(None)), done),
        "lent": lambda: done.append(str(spans.lent(a_call("as it came")))),
        "heard": lambda: [emit("run.ended", **ENDED), done.append("done")],  # type: ignore[func-returns-value]
    }
    works[part]()
    spans.close()
    assert done == ["as it came" if part == "lent" else "done"]
    assert "a span is left out" in caplog.text


ENDED = {"run_id": "r", "agent": "a", "step": 1, "status": "ERROR", "age_seconds": 1.0, "traceparent": None} | {
    "trace_began_at": None
}


def within(block: object, done: list[str]) -> None:
    with block:  # type: ignore[attr-defined]
        done.append("done")


def test_the_works_own_errors_pass_through(bench: Bench) -> None:
    with pytest.raises(ValueError, match="of the work"), bench.spans.stretch(a_run()):
        raise ValueError("of the work")
    with pytest.raises(ValueError, match="of the work"), bench.spans.call(a_call(None)):
        raise ValueError("of the work")
    assert set(bench.told()) == {"queue agents", "queue tools.shell", "execute_tool look_up"}


@pytest.mark.parametrize("fails", [True, False])
def test_nothing_is_remembered_of_what_the_process_has_let_go_of(bench: Bench, fails: bool) -> None:
    """Whatever becomes of the work: what is still heard of it then has no place."""
    for block in (bench.spans.stretch(a_run()), bench.spans.call(a_call(None))):
        with suppress(ValueError), block:
            if fails:
                raise ValueError("of the work")
    ids = {"run_id": "run_1", "step": 1}
    tokens = {"input_tokens": 1, "output_tokens": 1}
    emit("model.answered", **ids, agent="ops", model="m", outcome="answered", wall_seconds=0.1, **tokens)
    emit("inline.executed", **ids, tool_call_id="i", tool_name="add", outcome="succeeded", wall_seconds=0.1)
    call = {**ids, "tool_call_id": "c", "pool": "shell", "tool_name": "look_up", "attempt": 1}
    emit("call.begun", **call)
    emit("call.executed", **call, outcome="succeeded", wall_seconds=0.1, sandbox_level="ns")
    assert set(bench.told()) == {"queue agents", "queue tools.shell", "execute_tool look_up"}
