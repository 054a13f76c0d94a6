"""The profile as text, and how processes behind it are started and ended; with a program that stands in for macOS's."""

import json
import select
import sys
import threading
from pathlib import Path

import pytest

from tests.support.waiting import is_running, wait_until
from workers.sandbox.base import Limits, SandboxUnavailableError
from workers.sandbox.bootstrap import interpreter
from workers.sandbox.process import Order, Stop, execute
from workers.sandbox.seatbelt import SeatbeltProcesses, profile, try_out
from workers.sandbox.visible import Bind, View

# Writes down its profile and runs the command without any wall.
STAND_IN = '#!/bin/sh\nprintf %s "$2" > "$TMPDIR/profile"; shift 2; exec "$@"\n'


@pytest.fixture
def view(tmp_path: Path) -> View:
    """A project with something to hide, one folder to read and one to write."""
    project, added, written = (tmp_path / name for name in ('pro"ject', "added", "written"))
    for folder in (project, project / ".git", added, written):
        folder.mkdir(parents=True)
    (project / ".env").write_text("SECRET=1")
    trees = (Bind(project, project), Bind(added, added), Bind(written, written, writable=True))
    return View(project_dir=project, trees=trees, uncovered=(), system=(), links=())


def rules_of(text: str, operation: str) -> list[tuple[str, str]]:
    """Verb and text of each rule for the operation, in order."""
    rules = ("\n" + text).split("\n(")[1:]
    return [(rule.split()[0], rule) for rule in rules if operation in rule]


def test_everything_is_denied_but_what_is_shown(view: View, tmp_path: Path) -> None:
    text = profile(view, scratch="/private/tmp/s", network=False)

    assert text.startswith("(version 1)\n(deny default)\n")
    assert text.count("(") == text.count(")")
    reads = [rule for _, rule in rules_of(text, "file-read*")]
    assert f'(subpath "{tmp_path}/added")' in reads[0]
    assert f'(subpath "{tmp_path}/pro\\"ject")' in reads[0]
    assert '(subpath "/")' not in text
    # The last rule that fits counts, so what is hidden has to come later.
    assert [verb for verb, _ in rules_of(text, "file-read*")][:2] == ["allow", "deny"]
    assert ".git" in reads[1] and ".env" in reads[1] and "added" not in reads[1]


def test_only_scratch_and_what_is_spelt_out_can_be_written(view: View, tmp_path: Path) -> None:
    text = profile(view, scratch="/private/tmp/s", network=False)

    (_, first), (_, second) = rules_of(text, "file-write*")
    assert "/private/tmp/s" in first and f"{tmp_path}/written" in first and "added" not in first
    assert second.split()[2:] == ["(literal", '"/dev/null"))']


@pytest.mark.parametrize("network", [False, True])
def test_the_network_is_open_only_if_that_is_spelt_out(view: View, network: bool) -> None:
    assert ("network*" in profile(view, scratch="/s", network=network)) is network


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """A program that takes sandbox-exec's words."""
    program = tmp_path / "sandbox-exec"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    return str(program)


ANSWER = """
import json, os, sys, time
print("said", flush=True)
os.write(4, b"\\x06")
request = json.loads(os.fdopen(3).read())
scratch = os.environ["TMPDIR"]
if request["waits"]:
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
    else:
        open(request["told"], "w").write(str(pid))
    time.sleep(60)
rules, leads = open(scratch + "/profile").read(), os.getpgid(0) == os.getpid()
os.write(4, json.dumps([request["waits"], rules, scratch, leads]).encode())
"""


def order(**request: object) -> Order:
    return Order(
        request=json.dumps(request).encode(),
        limits=Limits(),
        wall_seconds=5 if request["waits"] else 30,
        answer_bytes=1 << 16,
        counted=False,
    )


def processes(view: View, program: str) -> SeatbeltProcesses:
    return SeatbeltProcesses([sys.executable, "-c", ANSWER], view, environment={}, network=False, program=program)


def test_a_call_is_asked_answers_and_leaves_no_scratch(view: View, stand_in: str) -> None:
    ended = execute(processes(view, stand_in).take(), order(waits=False), cancelled=threading.Event())

    waits, rules, scratch, leads = json.loads(ended.answer)
    assert (ended.exit_code, ended.stdout.text({}), waits, leads) == (0, "said\n", False, True)
    assert rules == profile(view, scratch=scratch, network=False)
    assert ended.cpu_user_seconds > 0
    assert not Path(scratch).exists()


def test_a_call_that_takes_too_long_ends_with_its_group(view: View, stand_in: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    child = processes(view, stand_in).take()
    # The time counts from when it is asked, and a machine may take longer to start it.
    assert select.select([child.answer], [], [], 60)[0]
    ended = execute(child, order(waits=True, told=str(told)), cancelled=threading.Event())

    assert (ended.stop, ended.exit_code) == (Stop.WALL, -9)
    pid = int(told.read_text())
    wait_until(lambda: not is_running(pid), "what it started is gone, too")


def test_a_program_that_is_not_there_is_said(view: View) -> None:
    with pytest.raises(SandboxUnavailableError, match="for macOS only"):
        try_out(view, program="/no/such/program")
    with pytest.raises(FileNotFoundError):
        processes(view, "/no/such/program").take()


def test_a_wall_that_shows_everything_does_not_hold(view: View, stand_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(view.project_dir))
    with pytest.raises(SandboxUnavailableError, match="does not hold: /bin/cat ended with status 0"):
        try_out(view, program=stand_in)


def test_the_interpreter_is_started_as_every_other_one() -> None:
    assert interpreter([], module="workers.sandbox.runner", chdir="/p")[1:3] == ["-I", "-B"]
