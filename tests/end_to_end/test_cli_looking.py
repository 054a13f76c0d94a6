"""Looking at runs through the real `errandry`: trees, pages, streams, a terminal, a folder without a project."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.run import RunOutput
from queues.client import Client
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.keys import events as events_key
from tests.support.command import ERRANDRY, Command
from workers.timeline.values import Timeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PROJECT = Path(__file__).parent / "people_project"
NOTHING = "Error: no project in {folder}: there is no errandry.toml there or above it. "


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A project that is up, with its scripted model."""
    folder = tmp_path_factory.mktemp("up") / "project"
    shutil.copytree(PROJECT, folder)
    command = Command(folder)
    with command.up("--no-flower", "--no-gateway"):
        yield command


@pytest.fixture(scope="module")
def url(counter: Command) -> str:
    found = EmbeddedServer.attach(counter.folder / ".errandry")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture(scope="module")
def ended(client: Client) -> str:
    """A run with a call in a pool that is over."""
    run = client.submit("counter", "Echo hi for 0 s")
    run.wait(60)
    return run.run_id


def on_a_terminal(command: Command, *arguments: str, columns: int) -> str:
    """What a person sees of a command that ends by itself."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in command.full_environment().items() if name not in ("COLUMNS", "CI")}
    process = subprocess.Popen(
        [str(ERRANDRY), *arguments],
        cwd=command.folder,
        env={**environment, "TERM": "xterm", "NO_COLOR": "1"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # nobody holds the other end any more
            break
        seen += piece
    os.close(ours)
    assert process.wait(60) == 0, seen
    return re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).replace("\r\n", "\n")


def test_a_run_is_a_tree_with_timings(counter: Command, ended: str) -> None:
    said = counter.run("show", ended).stdout
    assert re.search(
        r"^took     \d+\.\d\d s, \d+\.\d\d s of it paused\n"
        r"tokens   [\d,]+: [\d,]+ in, [\d,]+ out, in 2 model calls\n"
        r"input    Echo hi for 0 s\n\n"
        r"step 1\n"
        r"  model turn \d\S* s, asked for 1 call.*\n"
        r"  echo\(text='hi', seconds=0\.0\): succeeded in pool shell after \d\S* s\n"
        r"    attempt 1 on shell@\S+, \S+ s in the queue, \S+ s executing, succeeded, sandbox ns\n"
        r"  paused for \S+ s\n"
        r"step 2\n"
        r"  model turn \S+ s, answered.*\n",
        said,
        re.MULTILINE,
    ), said


def test_the_json_of_a_run_holds_its_timeline(counter: Command, client: Client, ended: str) -> None:
    shown = json.loads(counter.run("show", ended, "--json").stdout)
    assert RunOutput.from_dict(shown) == client.output(ended)
    timeline = Timeline.model_validate(shown["timeline"])
    assert [len(step.calls) for step in timeline.steps] == [1, 0]
    assert timeline.ended_at is not None and not timeline.is_cut


def test_a_run_whose_events_are_gone_is_shown_from_its_records(counter: Command, client: Client, url: str) -> None:
    run = client.submit("counter", "Echo gone for 0 s")
    run.wait(60)
    with connect(url) as connection:
        connection.delete(events_key(run.run_id))
    said = counter.run("show", run.run_id).stdout
    assert "  echo(text='gone', seconds=0.0): succeeded in pool shell\n    attempt 1 on shell@" in said
    assert "model turn" not in said and "took " not in said


def test_a_run_that_waits_says_for_whom_and_since_when(counter: Command, client: Client) -> None:
    run = client.submit("counter", "Delete home")
    run.wait(60, until="paused")
    said = counter.run("show", run.run_id).stdout
    assert re.search(r"delete_files\(folder='home'\): waits for a person's yes or no, for \S+ s \(since 2", said), said
    listed = counter.run("runs", "--status", "paused").stdout
    assert re.search(rf"^{run.run_id}  PAUSED .* waits for a person's yes or no: Delete home$", listed, re.MULTILINE)
    cancelled = counter.run("cancel", run.run_id, "--json")
    assert json.loads(cancelled.stdout) == {"run_id": run.run_id, "ending": True}
    assert json.loads(counter.run("cancel", run.run_id, "--json").stdout)["ending"] is False
    denied = counter.run("retry", run.run_id, "--json")
    assert (denied.returncode, denied.stdout) == (1, "")
    assert denied.stderr.startswith("Error: run ") and denied.stderr.count("\n") == 1


def test_runs_come_in_pages_and_in_several_statuses(counter: Command, client: Client, ended: str) -> None:
    runs = []
    for _ in range(3):  # one after the other: within a millisecond they have no order
        runs.append(client.submit("counter", "Ask the warehouse for nails"))
        runs[-1].wait(60, until="paused")
    runs[0].cancel()
    chosen = ["--status", "CANCELLED", "--status", "paused", "--agent", "counter", "--limit", "2"]
    first = counter.run("runs", *chosen)
    assert [line.split()[0] for line in first.stdout.splitlines()] == [runs[2].run_id, runs[1].run_id]
    older = re.fullmatch(r"older: errandry (runs .*)\n", first.stderr)
    assert older is not None, first.stderr
    second = counter.run(*older.group(1).split())
    assert second.stdout.splitlines()[0].split()[:2] == [runs[0].run_id, "CANCELLED"]
    assert ended not in first.stdout + second.stdout
    as_json = json.loads(counter.run("runs", *chosen, "--json").stdout)
    assert [output["run_id"] for output in as_json] == [runs[2].run_id, runs[1].run_id]
    gone = counter.run("runs", "--before", "run_none")
    assert gone.returncode == 1 and gone.stderr.startswith("Error: there is no run 'run_none' to go on from")


def test_ids_stay_whole_on_a_narrow_terminal(counter: Command, ended: str) -> None:
    listed = on_a_terminal(counter, "runs", "--status", "COMPLETED", columns=40)
    assert ended in listed.splitlines()
    shown = on_a_terminal(counter, "show", ended, columns=50)
    tree = [line for line in shown.splitlines() if line.startswith(("├", "│", "└"))]
    assert len(tree) >= 6 and max(len(line) for line in tree) <= 50


def test_text_is_followed_as_it_comes_on_a_terminal_and_printed_once(counter: Command) -> None:
    said = on_a_terminal(counter, "submit", "counter", "Say slowly one two three", "--follow", columns=100)
    assert re.fullmatch(r"run_\S+\n +\S+ s  started\n {11}counter \| one two three\n +\S+ s  completed\n", said), said


def test_a_pipe_gets_whole_lines_and_the_answer_last(counter: Command) -> None:
    said = counter.run("submit", "counter", "Say slowly one two three", "--follow").stdout
    assert "\n           counter | one two three\n" in said
    assert said.endswith(" s  completed\n\none two three\n")


def test_no_command_fails_where_output_is_not_utf8(counter: Command, client: Client) -> None:
    run = client.submit("counter", "Say größer… 数 ▶")
    run.wait(60)
    poor = Command(counter.folder, {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"})
    looks = [
        ["show", run.run_id], ["follow", run.run_id], ["runs"], ["pending"], ["pools"], ["dead", "list"],
        ["show", run.run_id, "--json"], ["follow", run.run_id, "--json"],
    ]  # fmt: skip
    shown, followed, listed, *others = poor.run_together(*looks)
    for done in (shown, followed, listed, *others):
        assert (done.returncode, done.stderr) == (0, "")
    assert "... ? >" in shown.stdout and "... ? >" in followed.stdout and "... ? >" in listed.stdout
    assert json.loads(others[3].stdout)["input"] == "Say größer… 数 ▶"
    assert json.loads(others[4].stdout.splitlines()[-1])["content"] == "größer… 数 ▶"


def test_a_folder_without_a_project_is_a_sentence_with_ways_out(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    commands = [
        ["submit", "ops", "hi"], ["runs"], ["show", "r"], ["follow", "r"], ["cancel", "r"], ["retry", "r"], ["pending"],
        ["approve", "r", "c"], ["deny", "r", "c"], ["answer", "r", "c", "a=1"], ["settle", "r", "c", "--result", "1"],
        ["pools"], ["dead", "list"], ["dead", "show", "x"], ["dead", "requeue", "x"], ["acl"], ["doctor"], ["up"],
        ["agent-worker"], ["tool-worker", "--pool", "x"], ["flower"], ["gateway"], ["key", "list"], ["runs", "--json"],
    ]  # fmt: skip
    half = len(commands) // 2
    done = Command(folder).run_together(*commands[:half]) + Command(folder).run_together(*commands[half:])
    for command, refused in zip(commands, done, strict=True):
        assert (refused.returncode, refused.stdout) == (2, ""), command
        assert refused.stderr.startswith(NOTHING.format(folder=folder)), command
        assert "`errandry init DIR`" in refused.stderr and "ERRANDRY_REDIS_URL" in refused.stderr
        assert refused.stderr.count("\n") == 1, command
    assert list(folder.iterdir()) == [], "nothing was written either"


def test_pools_without_a_project_are_those_that_workers_told_of(counter: Command, url: str, tmp_path: Path) -> None:
    elsewhere = Command(tmp_path, {"ERRANDRY_REDIS_URL": url})
    (shell,) = json.loads(elsewhere.run("pools", "--json").stdout)
    assert (shell["pool"], shell["level_required"], shell["tools"]) == ("shell", None, ["echo"])
    assert re.match(r"shell  1 worker, \d+ calls at once; 0 waiting\n", elsewhere.run("pools").stdout)
