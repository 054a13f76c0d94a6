"""The command of probes: what it says of a note, of a door, and of words that it does not know."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from queues.settings import Settings
from queues.stand_in import SILENCE_SECONDS
from workers import beats
from workers.beats import AGENT_BEATS, FOLDER_VARIABLE, TOOL_BEATS, Beat, place, write
from workers.health import main

NOW = 10_000.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers leave their notes, here and for the command."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def note(folder: Path, *, written: float = 1, stored: float = 1, consumed: float = 1, started: float = 1000) -> None:
    """A note of the tool worker `shell`; each time is so many seconds ago, 0 is never."""
    ages = (written, stored, consumed, started)
    write(place(str(folder), TOOL_BEATS, "shell"), Beat(*(NOW - age if age else 0.0 for age in ages)))


READY = ("tool-worker", "--pool", "shell")


@pytest.mark.parametrize(
    ("ages", "ready", "alive"),
    [
        ({}, 0, 0),
        ({"stored": 31}, 1, 0),
        ({"consumed": 31}, 1, 0),
        ({"stored": 0}, 1, 0),
        # Redis is away: nobody asks anything, and a restart would not help.
        ({"stored": 5000, "consumed": 5000}, 1, 0),
        # It is there, and the worker asks nothing.
        ({"consumed": 121}, 1, 1),
        # As above, of a worker that has only just started.
        ({"consumed": 0, "started": 5}, 1, 0),
        ({"consumed": 0, "started": 121}, 1, 1),
        # It stands still, yet its stand-in keeps its leases; then it does so no more.
        ({"written": 599, "stored": 599, "consumed": 599}, 1, 0),
        ({"written": 601, "stored": 601, "consumed": 601}, 1, 1),
        # From before the machine was started anew.
        ({"written": -500, "stored": -500, "consumed": -500}, 1, 1),
    ],
)
def test_what_a_note_means(folder: Path, ages: dict[str, float], ready: int, alive: int) -> None:
    note(folder, **ages)
    assert main(list(READY), now=NOW) == ready
    assert main([*READY, "--alive"], now=NOW) == alive


@pytest.mark.parametrize("spoilt", [None, "", "1 2 3", "1 2 3 4 5", "a b c d", "\ufffd"])
def test_without_a_note_that_can_be_read_a_worker_is_not_there(
    folder: Path, spoilt: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(place(str(folder), AGENT_BEATS, "agents"))
    if spoilt is not None:
        path.write_text(spoilt, encoding="utf-8")
    assert main(["agent-worker"]) == 1
    assert main(["agent-worker", "--alive"]) == 1
    assert f"there is no note in {path}" in capsys.readouterr().err


def test_each_node_has_a_note_of_its_own(folder: Path) -> None:
    write(place(str(folder), TOOL_BEATS, "second"), Beat(*[NOW - 1] * 4))
    assert main(["tool-worker", "--pool", "shell", "--name", "second"], now=NOW) == 0
    assert main(["tool-worker", "--pool", "shell"]) == 1
    assert main(["agent-worker", "--name", "second"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["worker"], "worker is no process; name one of agent-worker, tool-worker, gateway, flower."),
        (["tool-worker"], "--pool is missing"),
        (["agent-worker", "--pool", "shell"], "agent-worker has no option --pool."),
        (["gateway", "--port"], "--port lacks its value."),
        (["gateway", "--port", "x"], "--port must be a number from 1 to 65535 (it is 'x')."),
        (["gateway", "--port", "99999"], "--port must be a number"),
        (["flower", "--alive", "now"], "flower has no option now."),
        ([], "Usage"),
    ],
)
def test_other_words_are_misuse(folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("Usage: errandry-health ") and said in told


def test_without_a_folder_it_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert main(["agent-worker"]) == 2
    assert FOLDER_VARIABLE in capsys.readouterr().err


class Door(http.server.BaseHTTPRequestHandler):
    """Alive, and not ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path in ("/health", "/healthcheck") else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """A door on this machine."""
    with http.server.HTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def test_a_door_is_asked_for_the_right_page(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", "--port", str(port)]) == 1
    assert "503" in capsys.readouterr().err
    assert main(["gateway", "--port", str(port), "--alive"]) == 0
    assert main(["flower", "--port", str(port)]) == 0


def test_a_door_that_is_not_there_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    # Bound, so that nobody else can have it, and not listening.
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        assert main(["flower", "--port", str(gone.getsockname()[1])]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_a_probe_waits_as_long_as_the_stand_in_keeps_leases() -> None:
    assert beats.SILENT_SECONDS == SILENCE_SECONDS


def test_it_brings_nothing_of_the_product_along() -> None:
    program = "import workers.health, sys; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    ours = {name for name in loaded if name.partition(".")[0] in {"agent_core", "queues", "workers"}}
    assert ours == {"workers", "workers.health", "workers.beats"}
    assert not loaded & {"typer", "pydantic", "redis", "celery", "json", "http", "argparse", "dataclasses"}


def test_the_folder_is_the_same_for_everybody() -> None:
    with pytest.raises(ValidationError, match=r"beats_dir\n.*write an absolute path"):
        Settings(beats_dir=Path("beats"))
