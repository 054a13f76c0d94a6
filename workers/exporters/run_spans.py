"""The spans of runs in an agent worker: a root for the run, a stretch for each claim, model turns and inline calls.

Times are this process's clock; what began elsewhere is told as it was written down there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome, CallResult
from queues.claims import ClaimedRun
from queues.topology import agents_queue
from queues.tracing import TracePlace
from workers.exporters import genai
from workers.exporters.span_sink import OUTCOME, POOL, RUN_ID, STATUS, STEP, Attributes, SpanSink, error_of
from workers.exporters.trace_ids import RunTrace, moment, nanoseconds

LONG_PAUSE_SECONDS = 600.0
"""A run that paused for longer goes on in a trace of its own, linked to its first one: samplers and backends take a
trace for complete after some minutes, and one that waited for people for days is of no use on one line of time."""

_FINISHED = {status.value for status in RunStatus if status.is_finished}
_KINDS = {RunStatus.PENDING: "start", RunStatus.PAUSED: "continuation", RunStatus.ERROR: "retry"}
_KIND = "errandry.stretch.kind"
_TAKEOVER = "takeover"
_LOST = "lost"

Told = Mapping[str, object]


@dataclass
class Stretch:
    """What one worker does under one claim of a run, as far as it has come."""

    trace: RunTrace
    place: TracePlace
    began_ns: int
    attributes: Attributes
    kind: Attributes
    status: str = _LOST


class RunSpans:
    """The runs that this process carries on."""

    def __init__(self, sink: SpanSink, *, clock: Callable[[], int], long_pause_seconds: float) -> None:
        self._sink = sink
        self._clock = clock
        self._long_pause_ns = long_pause_seconds * 1e9
        self._stretches: dict[str, Stretch] = {}
        self.heard: Mapping[str, Callable[[Told], None]] = {
            "run.left": self._left,
            "run.ended": self._ended,
            "model.answered": self._answered,
            "inline.executed": self._executed,
        }

    def begin(self, run: ClaimedRun) -> Stretch:
        """A worker has claimed the run. If another trace begins here, that is written on the run's snapshot."""
        snapshot, now = run.snapshot, self._clock()
        attributes: Attributes = {RUN_ID: run.run_id, genai.AGENT_NAME: run.agent}
        if snapshot.output.session_id:
            attributes[genai.CONVERSATION_ID] = snapshot.output.session_id
        trace = self._trace(run, attributes, now)
        if snapshot.status is RunStatus.PENDING:
            since = nanoseconds(snapshot.output.created_at)
            self._sink.tell(f"queue {agents_queue(run.lane)}", trace.root.below(), trace.root, (since, now), attributes)
        self._tell_unexecuted(run, trace, attributes, now)
        kind = _KINDS.get(snapshot.status, _TAKEOVER)
        if kind == _TAKEOVER and (lost := snapshot.stretch_began_at) is not None:
            place = trace.stretch(run.run_id, lost)
            self._tell_stretch(Stretch(trace, place, nanoseconds(lost), attributes, {}), now)
        # Both are saved with the next save: before this there is nothing that anybody would have to tell of.
        snapshot.stretch_began_at = began_at = moment(now)
        stretch = Stretch(trace, trace.stretch(run.run_id, began_at), now, attributes, {_KIND: kind})
        self._stretches[run.run_id] = stretch
        return stretch

    def end(self, run_id: str, stretch: Stretch) -> None:
        """The worker has let go of the run; whoever ends it tells of its root, too."""
        now = self._clock()
        if self._stretches.get(run_id) is stretch:  # else it was lost, and another thread here has claimed it since
            del self._stretches[run_id]
        if stretch.status == _LOST:
            return  # told by whoever goes on from what was saved, as after a death
        self._tell_stretch(stretch, now)
        if stretch.status in _FINISHED:
            self._tell_root(stretch.trace, stretch.attributes, stretch.status, now)

    def _tell_stretch(self, stretch: Stretch, end_ns: int) -> None:
        self._sink.tell(
            genai.span_name(genai.INVOKE_AGENT, str(stretch.attributes[genai.AGENT_NAME])),
            stretch.place,
            stretch.trace.root,
            (stretch.began_ns, end_ns),
            {
                **stretch.attributes,
                **stretch.kind,
                genai.OPERATION: genai.INVOKE_AGENT,
                genai.PROVIDER: genai.OPENAI,
                STATUS: stretch.status,
            },
            error=stretch.status.lower() if stretch.status in ("ERROR", _LOST) else None,
        )

    def _trace(self, run: ClaimedRun, attributes: Attributes, now: int) -> RunTrace:
        snapshot = run.snapshot
        trace = self._decided(RunTrace.of(snapshot))
        paused_ns = max((nanoseconds(call.created_at) for call in snapshot.calls), default=now)
        is_late = snapshot.status is RunStatus.PAUSED and now - paused_ns > self._long_pause_ns
        if is_late:
            self._tell_root(trace, attributes, snapshot.status.value, paused_ns)
        if is_late or snapshot.status is RunStatus.ERROR:
            snapshot.trace_began_at = moment(now)
            trace = self._decided(RunTrace.of(snapshot))
        return trace

    def _decided(self, trace: RunTrace) -> RunTrace:
        """The trace, sampled or not: every process that is set up alike decides alike."""
        sampled = self._sink.samples(trace.root.trace_id, trace.parent)
        return replace(trace, root=replace(trace.root, sampled=sampled))

    def _tell_root(self, trace: RunTrace, attributes: Attributes, status: str, end_ns: int) -> None:
        self._sink.tell(
            f"run {attributes[genai.AGENT_NAME]}",
            trace.root,
            trace.parent,
            (nanoseconds(trace.began_at), end_ns),
            {**attributes, STATUS: status},
            error="error" if status == RunStatus.ERROR.value else None,
            link=trace.first,
        )

    def _tell_unexecuted(self, run: ClaimedRun, trace: RunTrace, attributes: Attributes, now: int) -> None:
        """Calls that the sweep had to answer, because their worker died or none came: nobody else tells of them."""
        for call in run.snapshot.pending:
            answer = run.answers.get(call.tool_call_id)
            if not isinstance(answer, CallResult) or call.pool is None or answer.metrics.wall_seconds is not None:
                continue
            if answer.outcome in (CallOutcome.LOST, CallOutcome.EXPIRED):
                self._sink.tell(
                    genai.span_name(genai.EXECUTE_TOOL, call.tool_name),
                    trace.root.below(),
                    trace.root,
                    (nanoseconds(call.created_at), now),
                    {
                        **attributes,
                        **genai.tool_call(call.tool_name, call.tool_call_id),
                        STEP: call.step,
                        POOL: call.pool,
                        OUTCOME: answer.outcome.value,
                    },
                    error=answer.outcome.value,
                )

    # What is heard ------------------------------------------------------------------------------------------------

    def _left(self, told: Told) -> None:
        if (stretch := self._stretches.get(str(told["run_id"]))) is not None:
            stretch.status = str(told["status"])

    def _ended(self, told: Told) -> None:
        now, age_ns = self._clock(), int(cast(float, told["age_seconds"]) * 1e9)
        trace = RunTrace.named(
            str(told["run_id"]),
            created_at=moment(now - age_ns),
            traceparent=cast(str | None, told["traceparent"]),
            began_at=cast(datetime | None, told["trace_began_at"]),
        )
        attributes: Attributes = {RUN_ID: str(told["run_id"]), genai.AGENT_NAME: str(told["agent"])}
        self._tell_root(self._decided(trace), attributes, str(told["status"]), now)

    def _answered(self, told: Told) -> None:
        outcome = str(told["outcome"])
        self._tell_below(
            told,
            genai.span_name(genai.CHAT, str(told["model"])),
            {
                genai.OPERATION: genai.CHAT,
                genai.PROVIDER: genai.OPENAI,
                genai.REQUEST_MODEL: str(told["model"]),
                genai.INPUT_TOKENS: cast(int, told["input_tokens"]),
                genai.OUTPUT_TOKENS: cast(int, told["output_tokens"]),
                OUTCOME: outcome,
            },
            error=outcome if outcome == "failed" else None,
            leaves_process=True,
        )

    def _executed(self, told: Told) -> None:
        name, outcome = str(told["tool_name"]), str(told["outcome"])
        attributes = {**genai.tool_call(name, str(told["tool_call_id"])), OUTCOME: outcome}
        self._tell_below(told, genai.span_name(genai.EXECUTE_TOOL, name), attributes, error=error_of(outcome))

    def _tell_below(
        self, told: Told, name: str, attributes: Attributes, *, error: str | None, leaves_process: bool = False
    ) -> None:
        """A span of the stretch that is over now; none for an agent that runs here by itself, outside of any run."""
        stretch = self._stretches.get(str(told["run_id"]))
        if stretch is None:
            return
        now = self._clock()
        began_ns = now - int(cast(float, told["wall_seconds"]) * 1e9)
        self._sink.tell(
            name,
            stretch.place.below(),
            stretch.place,
            (max(began_ns, stretch.began_ns), now),
            {**stretch.attributes, STEP: cast(int, told["step"]), **attributes},
            error=error,
            leaves_process=leaves_process,
        )
