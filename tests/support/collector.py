"""A real collector of spans: takes OTLP over HTTP, keeps the bytes, reads them by OpenTelemetry's own definitions."""

from __future__ import annotations

from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.webhook_receiver import Posted, Receiver


@dataclass(frozen=True)
class Span:
    """A span as it came; ids in hexadecimal digits, `parent` is empty for a root."""

    name: str
    trace: str
    id: str
    parent: str
    begun: int
    ended: int
    service: str
    kind: str
    error: str | None
    attributes: dict[str, object]
    links: list[tuple[str, str]] = field(default_factory=list)

    def holds(self, other: Span) -> bool:
        """Whether the other one happened within this one."""
        return self.begun <= other.begun <= other.ended <= self.ended


class Collector(Receiver):
    """Listens from `with` on. What it answers may be changed, as for any receiver."""

    def __init__(self) -> None:
        super().__init__(_taken)

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to say."""
        return self.url(path="")

    @property
    def received(self) -> bytes:
        """Each byte of each body."""
        return b"".join(posted.body for posted in self.posted)

    def spans(self) -> list[Span]:
        """All that came, in the order in which they began."""
        found = [span for posted in list(self.posted) if posted.path == "/v1/traces" for span in _read(posted.body)]
        return sorted(found, key=lambda span: span.begun)

    def of_run(self, run_id: str) -> list[Span]:
        """Those of one run."""
        return [span for span in self.spans() if span.attributes.get("errandry.run_id") == run_id]


def _taken(posted: Posted) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/x-protobuf"}, b""


def _read(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    found = []
    for of_process in request.resource_spans:
        service = str(_values(list(of_process.resource.attributes))["service.name"])
        found += [_span(sent, service) for scope in of_process.scope_spans for sent in scope.spans]
    return found


def _span(sent: SentSpan, service: str) -> Span:
    return Span(
        name=sent.name,
        trace=sent.trace_id.hex(),
        id=sent.span_id.hex(),
        parent=sent.parent_span_id.hex(),
        begun=sent.start_time_unix_nano,
        ended=sent.end_time_unix_nano,
        service=service,
        kind=SentSpan.SpanKind.Name(sent.kind).removeprefix("SPAN_KIND_"),
        error=sent.status.message if sent.status.code == Status.STATUS_CODE_ERROR else None,
        attributes=_values(list(sent.attributes)),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in sent.links],
    )


def _values(sent: list[KeyValue]) -> dict[str, object]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in sent}
