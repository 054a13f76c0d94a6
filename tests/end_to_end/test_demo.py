"""The demo, as a newcomer starts it: piped, on a terminal, interrupted, and where it cannot succeed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from tests.support.command import ERRANDRY, Command
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def demo(tmp_path: Path) -> Command:
    """The command in an empty folder, with a home and a scratch folder that show what it leaves there."""
    for name in ("here", "home", "scratch"):
        (tmp_path / name).mkdir()
    return Command(
        tmp_path / "here", {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "scratch"), "LANG": "C.UTF-8"}
    )


def _knows(flower: str, task: str) -> bool:
    with urllib.request.urlopen(f"{flower}/metrics", timeout=10) as answer:
        return f'task="{task}"' in answer.read().decode()


def assert_nothing_is_left(demo: Command) -> None:
    wait_until(lambda: not demo.left_behind(), f"nothing is left of {demo.left_behind()}", timeout_seconds=10)
    outside = [
        path
        for path in demo.folder.parent.rglob("*")
        if path.is_file()
        and not path.is_relative_to(demo.folder / ".errandry" / "demo")
        and path != demo.folder / ".errandry" / ".gitignore"
        and path.suffix != ".log"
    ]
    assert outside == []


def test_it_shows_every_run_and_ends_by_itself(demo: Command) -> None:
    ended = demo.run("demo")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", ended.stdout), "control codes in a pipe"
    said = ended.stdout
    for expected in (
        r"The model is scripted",
        r"Flower, while this runs: http://127\.0\.0\.1:\d+",
        r"\[1\] .* execute_shell_command executes in pool shell, sandbox ns, after \d",
        r"\[2\] .* add succeeded in pool python after \d",
        r"\[3\] .* current_time\(timezone='UTC'\) executes in the agent worker",
        r"\[3\] .* paused; waits for pool python, pool shell",
        r"\[5\] .* read_file failed in pool python",
        r"\[5\] .* completed",
        r"\(two pools, one after the other; 2 pauses\)",
        r"The sum is 15\.0",
        r"No such file or directory: '/data/report\.txt'",
        r"5 runs, 8 calls \(1 failed\), 7 of them in pools, 6 pauses",
        r"sandbox level +ns\n",
        r"process +valkey \(\d+\): \d+ MB",
        r"process +flower \(\d+\): \d+ MB",
        r"Every run ended as expected\.",
    ):
        assert re.search(expected, said), f"{expected} is not in:\n{said}"
    assert len(re.findall(r"\[4\] .* continued", said)) == 2
    assert_nothing_is_left(demo)


def test_on_a_terminal_it_is_live_and_can_be_kept(demo: Command) -> None:
    main, secondary = pty.openpty()
    environment = {**demo.full_environment(), "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "60"}
    process = subprocess.Popen(
        [str(ERRANDRY), "demo", "--keep"], cwd=demo.folder, env=environment,
        stdin=secondary, stdout=secondary, stderr=secondary, start_new_session=True,
        preexec_fn=lambda: _take_terminal(secondary),
    )  # fmt: skip
    os.close(secondary)
    try:
        said = _read_until(main, "Try in another terminal", process)
        assert "\x1b[" in said, "a terminal deserves a live display"
        assert "Every run ended as expected." in said
        flower = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert flower is not None
        for task in ("agents.demo", "tools.python.add"):
            # Flower hears of a task a moment after its worker has done it.
            wait_until(partial(_knows, flower[0], task), f"Flower knows {task}")

        project = Command(demo.folder / ".errandry" / "demo", marker=demo.marker)
        asked = project.run("submit", "demo", "Add 2 and 2", "--follow")
        assert asked.returncode == 0, asked.stderr
        assert asked.stdout.endswith("The sum is 4.0.\n")

        second = demo.run("demo")
        assert second.returncode == 1
        assert second.stderr.startswith("Error: Another demo runs in")

        os.write(main, b"\x03")
        _read_until(main, "Everything has stopped", process)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)
    assert_nothing_is_left(demo)


@pytest.mark.parametrize(
    ("moment", "number"), [("processes are ready after", signal.SIGINT), ("Starting an embedded", signal.SIGTERM)]
)
def test_an_interrupted_demo_leaves_nothing_behind(demo: Command, moment: str, number: signal.Signals) -> None:
    with demo.started("demo") as started:
        started.wait_for_line(moment)
        assert started.stop(number) == 128 + number
        assert started.said().endswith("Interrupted; everything has stopped.\n")
        assert "Traceback" not in started.said()
    assert_nothing_is_left(demo)


def test_a_killed_demo_leaves_no_process_behind(demo: Command) -> None:
    with demo.started("demo") as started:
        started.wait_for_line("[1]")
        started.process.kill()
    wait_until(lambda: not demo.left_behind(), "every process is gone")


def test_a_process_that_does_not_start_ends_the_demo_with_its_sentence(demo: Command) -> None:
    demo.environment = {**demo.environment, "ERRANDRY_POOLS__SHELL__SANDBOX__BACKEND": "none"}
    ended = demo.run("demo")
    assert ended.returncode == 1
    assert ended.stderr.startswith('Error: tool-worker shell: backend = "none" means no sandbox')
    assert len(ended.stderr.splitlines()) == 1
    assert_nothing_is_left(demo)


def test_an_unreachable_redis_is_a_sentence(demo: Command) -> None:
    demo.environment = {**demo.environment, "ERRANDRY_REDIS_URL": "redis://127.0.0.1:1/0"}
    ended = demo.run("demo")
    assert ended.returncode == 1
    assert re.fullmatch(r"Error: Redis at 127\.0\.0\.1:1/0 cannot be reached .*\n", ended.stderr)
    assert_nothing_is_left(demo)


def test_a_run_that_ends_otherwise_is_named_and_fails_the_demo(demo: Command) -> None:
    # The tool's own process and no other, so there is none for a shell.
    demo.environment = {**demo.environment, "ERRANDRY_POOLS__SHELL__SANDBOX__PIDS": "1"}
    ended = demo.run("demo")
    assert ended.returncode == 1, ended.stdout
    assert re.search(r"Run \[1\] run_\w+ did not end as expected: execute_shell_command failed", ended.stdout)
    assert "Run [2]" not in ended.stdout
    assert "Every run ended as expected" not in ended.stdout
    assert_nothing_is_left(demo)


def _take_terminal(descriptor: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def _read_until(descriptor: int, text: str, process: subprocess.Popen[bytes], *, timeout_seconds: float = 60) -> str:
    said = b""
    deadline = time.monotonic() + timeout_seconds
    while text.encode() not in said:
        assert time.monotonic() < deadline, said.decode(errors="replace")
        if select.select([descriptor], [], [], 1.0)[0]:
            try:
                said += os.read(descriptor, 65536)
            except OSError:
                break
    assert text.encode() in said, said.decode(errors="replace")
    return said.decode(errors="replace")
