"""Which form the log of a command has: on a terminal, elsewhere, as the settings and the command line say."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.command import ERRANDRY, Command
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(180)]

PROJECT = Path(__file__).parent / "people_project"
READY = "Gateway is ready at"


@pytest.fixture
def project(tmp_path: Path) -> Command:
    """A project of which nothing runs, and nothing is said of the form."""
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder)
    return Command(folder, {"ERRANDRY_LOG_FORMAT": ""})


def with_server(project: Command, redis_url: str) -> Command:
    project.environment = {**project.environment, "ERRANDRY_REDIS_URL": redis_url}
    return project


@pytest.mark.parametrize(
    ("setting", "variable", "option", "is_json"),
    [
        ("", "", (), True),
        ("", "", ("--log-format", "text"), False),
        ('log_format = "text"\n', "", (), False),
        ('log_format = "text"\n', "json", (), True),
        ('log_format = "json"\n', "text", ("--log-format", "auto"), True),
    ],
)
def test_without_a_terminal_it_is_json_unless_somebody_says_otherwise(
    project: Command, redis_url: str, setting: str, variable: str, option: tuple[str, ...], is_json: bool
) -> None:
    file = project.folder / "errandry.toml"
    file.write_text(setting + file.read_text(encoding="utf-8"), encoding="utf-8")
    with_server(project, redis_url).environment |= {"ERRANDRY_LOG_FORMAT": variable}  # type: ignore[operator]
    with project.started("gateway", "--port", "0", *option) as gateway:
        line = gateway.wait_for_line(READY)
        assert gateway.stop(signal.SIGTERM) == 0, gateway.said()
    assert line.startswith("{") is is_json, line
    if is_json:
        assert json.loads(line)["process"] == "gateway"


def test_on_a_terminal_it_is_text(project: Command, redis_url: str) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb", buffering=0) as stderr:
            process = subprocess.Popen(
                [ERRANDRY, "gateway", "--port", "0"],
                cwd=project.folder,
                env=with_server(project, redis_url).full_environment(),
                stderr=stderr,
            )
        try:
            said = b""
            while b"\n" not in said:
                said += terminal.read(4096)
        finally:
            process.terminate()
            process.wait(30)
    assert READY in said.decode() and not said.startswith(b"{")


def test_a_refusal_to_start_is_a_line_like_any_other(project: Command, redis_url: str) -> None:
    with with_server(project, redis_url).started("gateway", "--port", "0") as gateway:
        port = json.loads(gateway.wait_for_line(READY))["message"].rpartition(":")[2]
        refused = project.run("gateway", "--port", port)
    assert refused.returncode == 1
    line = json.loads(refused.stderr)
    assert line["level"] == "critical" and f"Port {port}" in line["message"]


def test_a_form_that_does_not_exist_is_refused(project: Command) -> None:
    project.environment = {"ERRANDRY_LOG_FORMAT": "xml"}
    refused = project.run("gateway")
    assert refused.returncode == 2 and "log_format" in refused.stderr.lower()


def test_up_speaks_to_people_unless_asked_for_json(project: Command) -> None:
    with project.up("--no-flower") as up:
        up.wait_for_line("Up: valkey, ")
        assert "tool-worker shell | " in up.wait_for_line("worker is ready: pool shell")
        assert not [line for line in up.said().splitlines() if line.startswith("{")]
    with project.started("up", "--log-format", "json", "--no-flower", "--gateway-port", "0") as up:
        up.wait_for_line("Up: valkey, ")
        submitted = project.run("submit", "counter", "Echo hello for 0 s")
        assert submitted.returncode == 0, submitted.stderr
        run_id = submitted.stdout.strip()
        wait_until(lambda: f"run {run_id} of counter ended: COMPLETED" in up.said(), "it ended", timeout_seconds=60)
        assert up.stop(signal.SIGTERM) == 0, up.said()
    lines = [json.loads(line) for line in up.said().splitlines()]
    assert {line["process"] for line in lines} == {"up", "model-server", "agent-worker", "tool-worker", "gateway"}
    assert lines[-1]["message"] == "Everything has stopped." and lines[-1]["process"] == "up"
    (settled,) = [line for line in lines if line.get("event") == "call.settled"]
    assert settled["run_id"] == run_id and settled["worker"].startswith("shell@")
