"""Whether this process traces: decided once at its start, by the environment variables of OpenTelemetry.

While none of them asks for it, nothing of OpenTelemetry is imported here, and nobody listens.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from agent_core.tools.execution import CallResult
from queues.calls import ClaimedCall
from queues.claims import ClaimedRun
from queues.executor_calls import LentCall

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

_log = logging.getLogger(__name__)


class Traces(Protocol):
    """What workers and the gateway tell of, besides telemetry events: where a stretch or a call begins and ends."""

    def stretch(self, run: ClaimedRun) -> AbstractContextManager[None]:
        """What happens to the run within the block; calls that are handed out there hang below it."""

    def call(self, call: ClaimedCall) -> AbstractContextManager[None]:
        """What happens to a call of a pool within the block, in the worker that claimed it."""

    def lent(self, call: ClaimedCall) -> str | None:
        """A call is handed to an executor over HTTP: the `traceparent` of its part."""

    def returned(self, lent: LentCall, result: CallResult, verdict: str) -> None:
        """An executor has answered."""

    def close(self) -> None:
        """Send what is left, within seconds, and make no more. May be repeated."""


class NoTraces:
    """Those of a process that does not trace."""

    def stretch(self, run: ClaimedRun) -> AbstractContextManager[None]:
        return nullcontext()

    def call(self, call: ClaimedCall) -> AbstractContextManager[None]:
        return nullcontext()

    def lent(self, call: ClaimedCall) -> str | None:
        return call.request.traceparent

    def returned(self, lent: LentCall, result: CallResult, verdict: str) -> None:
        pass

    def close(self) -> None:
        pass


NO_TRACES = NoTraces()


def open_traces(service: str, *, instance: str, environment: Mapping[str, str] = os.environ) -> Traces:
    """The traces that the environment asks for, sent by OTLP over HTTP; `service` is this process's name by default.

    What cannot be had is a warning: nobody's work stops for want of spans.
    """
    if not _is_asked_for(environment):
        return NO_TRACES
    try:
        # Only now: without the extra they are not there, and nobody else is to pay for them.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        from workers.exporters.span_sink import SpanSink, silence  # noqa: PLC0415
        from workers.exporters.spans import Spans  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        _log.warning(
            "the environment asks for traces, and OpenTelemetry is not installed: pip install 'errandry[otel]', or set "
            "OTEL_TRACES_EXPORTER=none"
        )
        return NO_TRACES
    silence()
    try:
        return Spans(SpanSink(OTLPSpanExporter(), service=service, instance=instance))
    except Exception as error:
        _log.warning("nothing is traced, because OpenTelemetry does not take its environment variables: %s", error)
        return NO_TRACES


def _is_asked_for(environment: Mapping[str, str]) -> bool:
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter == "none" or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if not exporter and not any(environment.get(name) for name in _ENDPOINTS):
        return False
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _PROTOCOL)
    if exporter not in ("", "otlp") or protocol != _PROTOCOL:
        _log.warning(
            "nothing is traced: spans are sent by OTLP over HTTP only (OTEL_TRACES_EXPORTER=otlp, "
            "OTEL_EXPORTER_OTLP_PROTOCOL=%s)",
            _PROTOCOL,
        )
        return False
    return True
