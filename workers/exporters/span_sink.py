"""Where finished spans go: a bounded queue of OpenTelemetry's, and from there to the collector, in a thread apart.

Nobody else touches OpenTelemetry. A collector that is slow or away costs spans, never work: what does not fit into the
queue is dropped, and the log has one line in a while about it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import context, trace
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from queues.tracing import TracePlace
from workers.exporters import genai
from workers.exporters.log_privacy import message_of

RUN_ID = "errandry.run_id"
STEP = "errandry.step"
STATUS = "errandry.status"
POOL = "errandry.pool"
ATTEMPT = "errandry.attempt"
OUTCOME = "errandry.outcome"
VERDICT = "errandry.verdict"
LEVEL_OF_SANDBOX = "errandry.sandbox.level"

Attributes = dict[str, str | int]

_UNHARMED = ("succeeded", "cancelled", "denied")
_FLUSH_SECONDS = 2.0
_QUIET_SECONDS = 60.0

_log = logging.getLogger(__name__)


def error_of(outcome: str) -> str | None:
    """What went wrong with a call, in a word; None if nothing did, or somebody wanted it so."""
    return None if outcome in _UNHARMED else outcome


class SpanSink:
    """Takes spans that are over. All methods are quick, and may be called from any thread."""

    def __init__(self, exporter: SpanExporter, *, service: str, instance: str) -> None:
        """`service` names this kind of process, unless the environment does. Reads OTEL_* as the SDK does."""
        provider = TracerProvider(resource=_resource(service, instance), shutdown_on_exit=False)
        self._sampler = provider.sampler
        self._resource = provider.resource
        self._processor = BatchSpanProcessor(exporter)
        self._scope = InstrumentationScope("errandry", version("errandry"))

    def samples(self, trace_id: int, parent: TracePlace | None) -> bool:
        """Whether the trace is to be told of, by the sampler that the environment names."""
        above = trace.set_span_in_context(_span(parent)) if parent is not None else context.Context()
        return self._sampler.should_sample(above, trace_id, "errandry").decision is Decision.RECORD_AND_SAMPLE

    def tell(
        self,
        name: str,
        place: TracePlace,
        parent: TracePlace | None,
        times: tuple[int, int],
        attributes: Mapping[str, str | int],
        *,
        error: str | None = None,
        link: TracePlace | None = None,
        leaves_process: bool = False,
    ) -> None:
        """A span is over: when it began and ended, in nanoseconds, and in a word what went wrong, if something did."""
        if not place.sampled:
            return
        began_ns, ended_ns = times
        # Made at once and not by a tracer: its id is known to other processes, and there is nothing to leave open here.
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=_context(place),
                parent=_context(parent) if parent is not None else None,
                resource=self._resource,
                attributes={**attributes, **({genai.ERROR_TYPE: error} if error else {})},
                links=(Link(_context(link)),) if link is not None else (),
                kind=SpanKind.CLIENT if leaves_process else SpanKind.INTERNAL,
                status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
                start_time=min(began_ns, ended_ns),
                end_time=ended_ns,
                instrumentation_scope=self._scope,
            )
        )

    @contextmanager
    def current(self, place: TracePlace) -> Iterator[None]:
        """Within the block this is the active span, also for libraries that trace by themselves."""
        token = context.attach(trace.set_span_in_context(_span(place)))
        try:
            yield
        finally:
            context.detach(token)

    def close(self) -> None:
        """Send what is left, but for no longer than two seconds. May be repeated."""
        closing = threading.Thread(target=self._processor.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_FLUSH_SECONDS)


class OneLine(logging.Handler):
    """Says what OpenTelemetry has to say: a line of it, and then for a minute nothing.

    Without tracebacks, nor an exception's own words: those name the URL of the collector, which may hold a key.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._said = -_QUIET_SECONDS

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on, or keep it to itself."""
        now = self._clock()
        if now - self._said >= _QUIET_SECONDS:
            self._said = now
            line = message_of(record, in_full=False).partition("\n")[0]
            _log.warning("spans may be missing: %s (said at most once a minute)", line)


def silence() -> None:
    """Let OpenTelemetry's own log speak through `OneLine` only."""
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, OneLine) for handler in logger.handlers):
        logger.addHandler(OneLine())
        logger.propagate = False


def _resource(service: str, instance: str) -> Resource:
    named = {SERVICE_VERSION: version("errandry"), SERVICE_INSTANCE_ID: instance}
    given = os.environ.get(OTEL_RESOURCE_ATTRIBUTES, "")
    if not os.environ.get(OTEL_SERVICE_NAME) and f"{SERVICE_NAME}=" not in given:
        named[SERVICE_NAME] = service
    return Resource.create(named)


def _context(place: TracePlace) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT)
    return SpanContext(place.trace_id, place.span_id, is_remote=True, trace_flags=flags)


def _span(place: TracePlace) -> NonRecordingSpan:
    return NonRecordingSpan(_context(place))
