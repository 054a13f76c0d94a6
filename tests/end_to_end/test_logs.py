"""Real processes whose runs, calls, models and secrets are full of canaries: no log sings, each line has its ids."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from agent_core.run import RunStatus
from tests.support.logged import Logged, logging_in
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]

BOUND = 90
FORMS = ["json", "text"]
INPUTS = {
    ("ops", "canary-input repeat"): RunStatus.COMPLETED,
    ("ops", "canary-input fail_always"): RunStatus.COMPLETED,
    ("ops", "canary-input fail_here"): RunStatus.COMPLETED,
    ("ops", "canary-input leave_behind"): RunStatus.COMPLETED,
    ("ops", "canary-input that is garbled"): RunStatus.COMPLETED,
    ("ops", "canary-input that is cut"): RunStatus.ERROR,
    ("broken_model", "canary-input"): RunStatus.ERROR,
    ("broken_agent", "canary-input"): RunStatus.ERROR,
}


@pytest.fixture(scope="module", params=FORMS)
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    """Everything has been walked, by the client and over HTTP, and the server was away for a while."""
    with (
        Receiver(lambda posted: (500, {}, b"canary-answer of a receiver")) as receiver,
        logging_in(request.param, tmp_path_factory.mktemp("logs")) as logged,
    ):
        walk(logged, receiver)
        lose_the_server(logged)
        yield logged


def walk(logged: Logged, receiver: Receiver) -> None:
    runs = {logged.client.submit(*key): status for key, status in INPUTS.items()}
    for run, expected in runs.items():
        assert run.wait(timeout=BOUND).status is expected, run.output().error
    (call,) = next(run.output() for run in runs if "repeat" in str(run.output().input)).tools
    assert "canary-result" in str(call.result), "what must not be logged is there to be logged"
    with httpx2.Client(base_url=logged.gateway_url, timeout=60, trust_env=False) as client:
        new = {"agent": "ops", "input": "canary-input repeat", "webhook_url": receiver.url()}
        assert client.post("/v1/runs", json=new, headers={"Authorization": "Bearer canary-key"}).status_code == 401
        keyed = {"Authorization": f"Bearer {logged.api_key}"}
        assert client.post("/v1/runs", json=new, headers=keyed).status_code < 300
        assert client.post("/v1/runs", content=b'{"canary', headers=keyed).status_code == 415
        assert client.get("/v1/runs/canary-id?key=canary", headers=keyed).status_code == 404
    wait_until(lambda: receiver.posted, "a webhook was posted", timeout_seconds=BOUND)
    parts = urlsplit(logged.gateway_url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=30) as stranger:
        stranger.sendall(b"canary is no HTTP\r\n\r\n")
        stranger.recv(1024)


def lose_the_server(logged: Logged) -> None:
    held = logged.client.submit("ops", "canary-input that is slow")
    wait_until(lambda: held.status() is RunStatus.RUNNING, "it runs", timeout_seconds=BOUND)
    os.kill(logged.server.pid, signal.SIGKILL)
    logged.wait_for("celery.worker.consumer")
    logged.server.revive()
    assert held.wait(timeout=BOUND).status is RunStatus.COMPLETED


def test_no_line_holds_what_was_said(walked: Logged) -> None:
    assert len(walked.lines) > 40
    for canary in walked.canaries():
        assert [entry for entry in walked.lines if canary in entry[1]] == []


def form_of(walked: Logged) -> str:
    return "json" if walked.lines[0][1].startswith("{") else "text"


def test_each_line_has_its_form(walked: Logged) -> None:
    if form_of(walked) == "text":
        first = re.compile(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR|CRITICAL) +[\w.]+: \S| {4,}\S")
        assert [line for _, line in walked.lines if not first.match(line)] == []
        return
    for line in walked.objects():
        assert {"time", "level", "process", "worker", "logger", "message"} <= line.keys()
    for process in ("agent-worker", "tool-worker", "gateway", "flower"):
        assert {line["process"] for line in walked.objects(process)} == {process}
    assert {line["pool"] for line in walked.objects("tool-worker")} == {"shell"}


def test_libraries_write_in_the_same_form(walked: Logged) -> None:
    speakers = {"some.library", "celery.worker.consumer.consumer", "uvicorn.error", "py.warnings", "asyncio"}
    for speaker in speakers:
        line = walked.wait_for(re.escape(speaker))
        assert re.search(rf'"logger":"{speaker}"| {speaker}: ', line), line


def test_a_line_is_about_its_run_and_its_call(walked: Logged) -> None:
    if form_of(walked) == "text":
        spoken = walked.wait_for("a library speaks")
        assert re.search(r"a library speaks \[run_id=\S+ tool_call_id=\S+\]$", spoken)
        ids = r"\[run_id=run_\w+ tool_call_id=call_\w+ pool=shell attempt=2\]$"
        walked.wait_for(rf"call of fail_always failed in \d\S+ s after \d\S+ s in the queue {ids}")
        return
    objects = walked.objects()
    (library,) = [line for line in objects if line["message"] == "a library speaks"]
    assert library["tool_name"] == "fail_here" and library["run_id"] and library["tool_call_id"]
    (fault,) = [line for line in objects if "cannot go on" in line["message"]]
    assert fault["exception"] == "ValueError" and "advance" in fault["traceback"]
    assert fault["run_id"] in fault["message"]


def test_one_line_tells_each_thing(walked: Logged) -> None:
    if form_of(walked) == "text":
        walked.wait_for("run .* of ops begins")
        walked.wait_for(r"run .* of ops is paused at step 1, \d+\.\d\d s after its submit")
        walked.wait_for(r"run .* of ops goes on at step 1")
        walked.wait_for(r"run .* of ops ended: COMPLETED")
        walked.wait_for(r"WARNING errandry: run .* of broken_model ended: ERROR")
        return
    told = [line for line in walked.objects() if "event" in line and line["level"] != "debug"]
    failed = [line for line in told if line["event"] == "call.settled" and line["tool_name"] == "fail_always"]
    assert [(line["attempt"], line["verdict"], line["outcome"]) for line in failed] == [
        (1, "retry", "failed"),
        (2, "last", "failed"),
    ]
    for line in failed:
        assert {"run_id", "tool_call_id", "pool", "worker", "wall_seconds", "queue_wait_seconds"} <= line.keys()
    (run_id,) = {line["run_id"] for line in failed}
    of_run = [line for line in told if line["run_id"] == run_id and line["event"].startswith("run.")]
    assert [line["event"] for line in of_run] == ["run.claimed", "run.left", "run.claimed", "run.left"]
    assert [line.get("status") for line in of_run] == [None, "PAUSED", None, "COMPLETED"]
    assert all(line["process"] == "agent-worker" for line in of_run)
