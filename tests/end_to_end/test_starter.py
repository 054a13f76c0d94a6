"""A new project, from `errandry init` on: without a key, with one, and across a stop in the middle of a call."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.command import Command
from workers.model_server.server import ModelServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


TASKS = (
    "/tasks/datatable?draw=1&start=0&length=50&search%5Bvalue%5D=&order%5B0%5D%5Bcolumn%5D=0&order%5B0%5D%5Bdir%5D=asc"
    "&columns%5B0%5D%5Bdata%5D=name"
)
"""What Flower's page of tasks asks for."""


def test_it_runs_without_a_key_and_with_one_and_loses_nothing_in_between(tmp_path: Path) -> None:
    written = Command(tmp_path).run("init", "helpdesk")
    assert written.returncode == 0, written.stderr
    project = Command(tmp_path / "helpdesk")
    assert len((project.folder / "README.md").read_text(encoding="utf-8").splitlines()) <= 10

    with project.up("--flower-port", "0") as up:
        asked = project.run("submit", "ops", "Execute the shell command ls", "--follow")
        assert asked.returncode == 0, asked.stderr
        assert "errandry.toml" in asked.stdout.partition("It says:")[2]
        slow = project.run("submit", "ops", "Execute the shell command sleep 3; echo done").stdout.strip()
        with project.started("follow", slow) as following:
            following.wait_for_line("executes in pool shell")
        assert up.stop(signal.SIGTERM) == 0, up.said()
        assert re.search(rf"call of execute_shell_command succeeded in .*\[run_id={slow} ", up.said())
        assert "Everything has stopped." in up.said()
    assert project.left_behind() == []

    with ModelServer(project.folder / "model.toml") as endpoint:
        with_key = Command(
            project.folder, {"OPENAI_API_KEY": "sk-a-key", "OPENAI_BASE_URL": endpoint.base_url}, project.marker
        )
        with with_key.up("--flower-port", "0") as up:
            # What was held when the drain began was finished, and the rest goes on from there.
            ended = with_key.run("follow", slow)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            assert ended.stdout.endswith("It says:\ndone\n\n")
            assert ended.stdout.count("executes in pool shell") == 1
            counted = with_key.run("submit", "ops", "Count the words in one two three", "--follow")
            assert counted.stdout.endswith("There are 3 words.\n")
            # Flower remembers what happened before it was started again.
            flower = up.wait_for_line("Flower: http").split()[1]
            with urllib.request.urlopen(f"{flower}{TASKS}", timeout=10) as listed:
                assert slow in [task["uuid"] for task in json.load(listed)["data"]]
            assert _environment_of(up.process.pid, "tool-worker").get("OPENAI_API_KEY") is None
            assert _environment_of(up.process.pid, "agent-worker")["OPENAI_API_KEY"] == "sk-a-key"
            assert "sk-a-key" not in up.said()
    assert project.left_behind() == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    precious = tmp_path / "errandry.toml"
    precious.write_text("# mine\n", encoding="utf-8")
    refused = Command(tmp_path).run("init", ".")
    assert refused.returncode == 1
    assert (
        refused.stderr
        == "Error: . holds errandry.toml already, and nothing is overwritten; name a new or an empty folder.\n"
    )
    assert list(tmp_path.iterdir()) == [precious]


def test_the_starter_passes_its_own_types_and_imports(tmp_path: Path) -> None:
    assert Command(tmp_path).run("init", "helpdesk").returncode == 0
    loaded = subprocess.run(
        [sys.executable, "-c", "from support.agents import ops; print(*sorted(ops.functions()))"],
        cwd=tmp_path / "helpdesk",
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert loaded.stdout == "count_words execute_shell_command\n"


def _environment_of(parent: int, command: str) -> dict[str, str]:
    """The environment of the child of `parent` that runs this command of ours."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent_of(entry) == parent:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if command.encode() in words:
                pairs = (entry / "environ").read_bytes().decode().split("\0")
                return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    raise AssertionError(f"{command} is no child of {parent}")


def _parent_of(entry: Path) -> int | None:
    try:
        return int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return None
