"""The spans of one process: hears of what happens to runs and calls, and tells a sink of each span once it is over.

A span bears ids, names, times and outcomes, and nothing that a person, a model or a tool wrote. Nothing is raised into
the work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

from agent_core.telemetry import listen
from agent_core.tools.execution import CallResult
from queues.calls import ClaimedCall
from queues.claims import ClaimedRun
from queues.executor_calls import LentCall
from workers.exporters.call_spans import CallSpans
from workers.exporters.run_spans import LONG_PAUSE_SECONDS, RunSpans
from workers.exporters.span_sink import SpanSink

_log = logging.getLogger(__name__)


class Spans:
    """The `Traces` of a process that traces, until `close`."""

    def __init__(
        self,
        sink: SpanSink,
        *,
        clock: Callable[[], int] = time.time_ns,
        long_pause_seconds: float = LONG_PAUSE_SECONDS,
    ) -> None:
        self._sink = sink
        self._runs = RunSpans(sink, clock=clock, long_pause_seconds=long_pause_seconds)
        self._calls = CallSpans(sink, clock=clock)
        self._heard = {**self._runs.heard, **self._calls.heard}
        self._end_listening = listen(self._hear)

    def close(self) -> None:
        """Send what is left, within seconds, and make no more. May be repeated."""
        self._end_listening()
        self._sink.close()

    @contextmanager
    def stretch(self, run: ClaimedRun) -> Iterator[None]:
        """What happens to the run within the block; calls that are handed out there hang below it."""
        stretch = None
        with quietly():
            stretch = self._runs.begin(run)
        try:
            with self._sink.current(stretch.place) if stretch is not None else nullcontext():
                yield
        finally:
            with quietly():
                if stretch is not None:
                    self._runs.end(run.run_id, stretch)

    @contextmanager
    def call(self, call: ClaimedCall) -> Iterator[None]:
        """What happens to a call of a pool within the block, in the worker that claimed it."""
        claim = None
        with quietly():
            claim = self._calls.begin(call)
        try:
            yield
        finally:
            with quietly():
                if claim is not None:
                    self._calls.end(call, claim)

    def lent(self, call: ClaimedCall) -> str | None:
        """A call is handed to an executor over HTTP: the `traceparent` of its part."""
        with quietly():
            return self._calls.lent(call).written()
        return call.request.traceparent

    def returned(self, lent: LentCall, result: CallResult, verdict: str) -> None:
        """An executor has answered."""
        with quietly():
            self._calls.returned(lent, result, verdict)

    def _hear(self, event: str, told: Mapping[str, object]) -> None:
        if (heard := self._heard.get(event)) is not None:
            with quietly():
                heard(told)


@contextmanager
def quietly() -> Iterator[None]:
    """A span that cannot be made is left out; that is no reason for the work to stop."""
    try:
        yield
    except Exception as error:
        _log.warning("a span is left out: %s: %s", type(error).__name__, error)
        _log.debug("a span is left out", exc_info=True)
