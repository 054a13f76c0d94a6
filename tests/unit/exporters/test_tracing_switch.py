"""Whether a process traces: what the environment asks for, what it costs if it does not, and what may go wrong."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

import pytest

from agent_core import telemetry
from tests.support.collector import Collector
from workers.exporters.span_sink import OneLine
from workers.exporters.tracing import NO_TRACES, Traces, open_traces

SOMEWHERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}

# What a worker, the gateway's part and a producer load and do, with a finder that notes who asks for OpenTelemetry.
LOADING = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "opentelemetry":
            frame = sys._getframe(1)
            ways = ("importlib", "_frozen_importlib", "opentelemetry")
            while frame.f_globals.get("__name__", "").split(".")[0] in ways:
                frame = frame.f_back
            print("asked by", frame.f_globals.get("__name__"))
            {absent}
sys.meta_path.insert(0, Watch())
import workers.agent_worker, workers.tool_worker, workers.gateway.pool_service, queues.client_stores
from agent_core import telemetry
from queues.tracing import traceparent_here
from workers.exporters.tracing import open_traces
traces = open_traces("errandry", instance="me", environment={environment})
assert traceparent_here() is None
print("loaded", *(name for name in sys.modules if name.startswith(("opentelemetry.", "workers.exporters."))))
print("listeners", len(telemetry._listeners))
"""


def lines_of(environment: Mapping[str, str], *, installed: bool) -> list[list[str]]:
    absent = "" if installed else "raise ModuleNotFoundError('not installed', name=name)"
    program = LOADING.format(environment=dict(environment), absent=absent)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [line.split() for line in [*run.stdout.splitlines(), *run.stderr.splitlines()]]


@pytest.mark.parametrize("installed", [True, False])
def test_while_nobody_asks_nothing_of_it_is_loaded_and_nobody_listens(installed: bool) -> None:
    lines = lines_of({}, installed=installed)
    askers = {line[2].split(".")[0] for line in lines if line[:2] == ["asked", "by"]}
    assert not askers & {"agent_core", "queues", "workers"}  # redis and fastapi look for it by themselves
    (loaded,) = [line[1:] for line in lines if line[:1] == ["loaded"]]
    ours = {"workers.exporters.spans", "workers.exporters.span_sink", "workers.exporters.genai"}
    traced = {"opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto"}
    assert not {*ours, *traced} & set(loaded)
    assert ["listeners", "0"] in lines


def test_without_the_extra_one_warning_names_it() -> None:
    lines = lines_of(SOMEWHERE, installed=False)
    warnings = [" ".join(line) for line in lines if "errandry[otel]" in " ".join(line)]
    assert len(warnings) == 1 and "pip install 'errandry[otel]'" in warnings[0]
    assert ["listeners", "0"] in lines


@pytest.mark.parametrize(
    ("environment", "warning"),
    [
        ({}, None),
        ({**SOMEWHERE, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({**SOMEWHERE, "OTEL_SDK_DISABLED": "true"}, None),
        ({**SOMEWHERE, "OTEL_TRACES_EXPORTER": "zipkin"}, "OTLP over HTTP only"),
        ({**SOMEWHERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTLP over HTTP only"),
    ],
)
def test_who_does_not_trace(environment: dict[str, str], warning: str | None, caplog: pytest.LogCaptureFixture) -> None:
    assert open_traces("errandry", instance="me", environment=environment) is NO_TRACES
    assert [warning] == [text for text in [warning] if text in caplog.text] if warning else not caplog.records


def test_wrong_values_are_a_warning_and_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    assert open_traces("errandry", instance="me", environment=SOMEWHERE) is NO_TRACES
    assert "nothing is traced" in caplog.text


def opened(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> Traces:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    return open_traces("errandry-test", instance="me")


def told_an_end(run_id: str) -> None:
    told = {"run_id": run_id, "agent": "ops", "step": 1, "status": "CANCELLED", "age_seconds": 1.0}
    telemetry.emit("run.ended", **told, traceparent=None, trace_began_at=None)


def test_what_is_left_is_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as collector:
        traces = opened(monkeypatch, collector.endpoint)
        told_an_end("run_1")
        traces.close()
        traces.close()
        told_an_end("run_2")
        (span,) = collector.spans()
    assert span.name == "run ops" and span.service == "errandry-test"


def test_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    with Collector() as collector:
        traces = opened(monkeypatch, collector.endpoint)
        told_an_end("run_1")
        traces.close()
        assert [span.service for span in collector.spans()] == ["mine"]


def stalled(over: threading.Event) -> tuple[int, dict[str, str], bytes]:
    over.wait(60)
    return 200, {}, b""


@pytest.mark.parametrize("answers", [True, False])
def test_a_collector_that_is_away_or_slow_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answers: bool
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    logging.getLogger("opentelemetry").handlers.clear()  # what was said before is said again
    over = threading.Event()
    with Collector() as collector:
        collector.answer = lambda posted: stalled(over)
        traces = opened(monkeypatch, collector.endpoint if answers else "http://127.0.0.1:9")
        begun = time.monotonic()
        for number in range(500):
            told_an_end(f"run_{number}")
        traces.close()
        # Generous: what is bounded is the waiting, two seconds of it, whatever the machine does besides.
        assert time.monotonic() - begun < 30
        over.set()
    # A queue that is full, and a collector that is away, are worth one line, and no traceback.
    assert not logging.getLogger("opentelemetry").propagate  # whatever else it says stays there
    (record,) = [record for record in caplog.records if record.name.startswith("workers.")]
    assert "spans may be missing" in record.getMessage() and record.exc_info is None


def test_the_log_does_not_name_the_collectors_url(caplog: pytest.LogCaptureFixture) -> None:
    away = ConnectionError("Max retries exceeded with url: /v1/traces?key=canary")
    OneLine().emit(logging.LogRecord("opentelemetry.x", logging.ERROR, "f", 1, "cannot export: %s", (away,), None))
    assert "cannot export: ConnectionError" in caplog.text and "canary" not in caplog.text


def test_the_log_has_one_line_in_a_while_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    handler = OneLine(clock=lambda: now[0])
    for now[0] in (0.0, 1.0, 59.0, 60.0):
        record = logging.LogRecord("opentelemetry.x", logging.ERROR, "f", 1, "away at %s\nmore", (now[0],), None)
        handler.emit(record)
    assert [record.getMessage() for record in caplog.records] == [
        "spans may be missing: away at 0.0 (said at most once a minute)",
        "spans may be missing: away at 60.0 (said at most once a minute)",
    ]
