"""What a zygote does where no namespace helps: every process of a call is found, every folder is emptied."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.forked import in_child
from tests.support.waiting import wait_until
from workers.sandbox import aftermath
from workers.sandbox.aftermath import Aftermath, adopt_orphans, open_scratch, remove, scratch_of, wipe

SOON = 20.0


def until(seconds: float = SOON) -> float:
    return time.monotonic() + seconds


def fill(folder: Path) -> None:
    """What a call may leave: closed folders, links, pipes, and a depth that no path reaches."""
    (folder / "closed" / "inner").mkdir(parents=True)
    (folder / "closed" / "inner" / "file").write_text("x")
    (folder / "closed" / "inner").chmod(0)
    (folder / "closed").chmod(0)
    (folder / "link").symlink_to("/etc")
    os.mkfifo(folder / "pipe")
    back = Path.cwd()
    os.chdir(folder)
    for _ in range(60):
        os.mkdir("d" * 200)  # noqa: PTH102 - the path is too long for the calls that take one
        os.chdir("d" * 200)
    os.chdir(back)


def test_a_folder_is_emptied_whatever_a_call_left_in_it(tmp_path: Path) -> None:
    fill(tmp_path)
    before = Path.cwd()

    assert wipe(str(tmp_path), until=until())

    assert list(tmp_path.iterdir()) == []
    assert Path.cwd() == before
    assert Path("/etc/passwd").exists()


def test_what_is_kept_stays_with_all_that_is_in_it(tmp_path: Path) -> None:
    kept = tmp_path / "above" / "project"
    kept.mkdir(parents=True)
    (kept / "file").write_text("kept")
    (tmp_path / "above" / "other").mkdir()
    (tmp_path / "above" / "file").write_text("gone")

    assert wipe(str(tmp_path), until=until(), kept=[str(kept)])

    assert [path.name for path in (tmp_path / "above").iterdir()] == ["project"]
    assert (kept / "file").read_text() == "kept"


def test_what_takes_too_long_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    assert not wipe(str(tmp_path), until=time.monotonic() - 1)
    assert not remove(str(tmp_path), until=time.monotonic() - 1)
    assert remove(str(tmp_path), until=until())
    assert not tmp_path.exists()
    assert remove(str(tmp_path), until=until())


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("x")
    (tmp_path / "link").symlink_to(other)

    assert not wipe(str(tmp_path / "link"), until=until())
    assert (other / "file").exists()


DAEMONS = """
import os, sys, time
def stay():
    while True:
        time.sleep(60)
for _ in range(5):
    between = os.fork()
    if between == 0:
        if os.fork() == 0:
            stay()
        os._exit(0)
    os.waitpid(between, 0)
if os.fork() == 0:
    stay()
print("ready", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
def test_every_process_of_a_group_is_killed_and_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    # How soon they die is the machine's business.
    monkeypatch.setattr(aftermath, "SWEEP_SECONDS", SOON)

    def attempt() -> list[object]:
        adopt_orphans()
        with subprocess.Popen(
            [sys.executable, "-c", DAEMONS], stdout=subprocess.PIPE, start_new_session=True
        ) as leader:
            assert leader.stdout is not None
            leader.stdout.readline()
            os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
            alive = len(group_of(leader.pid))
            traces = Aftermath("group")
            traces.end(leader.pid)
            leader.wait()
            return [alive, traces.clean(leader.pid), group_of(leader.pid)]

    assert in_child(attempt) == [6, True, []]


def group_of(leader: int) -> list[int]:
    """The living processes of the group."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == leader and fields[0] != "Z":
                found.append(int(folder.name))
    return found


def test_what_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aftermath, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(Aftermath, "end", lambda self, pid: None)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stubborn:
        try:
            assert not Aftermath("group").clean(stubborn.pid)
        finally:
            stubborn.kill()


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A zygote's scratch with one call's folder."""
    place = open_scratch(str(tmp_path))
    Path(scratch_of(place, 7)).mkdir()
    yield Path(place)


def test_a_call_that_writes_too_much_is_found(scratch: Path) -> None:
    traces = Aftermath("group", scratch=str(scratch))
    own = Path(scratch_of(str(scratch), 7))

    def overfull() -> tuple[bool, bool]:
        return traces.overfull(7, megabytes=1, inodes=1000), traces.overfull(7, megabytes=1000, inodes=10)

    (own / "inner").mkdir()
    (own / "inner" / "file").write_bytes(b"x" * 1000)
    assert overfull() == (False, False)
    (own / "inner" / "file").write_bytes(b"x" * (2 << 20))
    os.sync()
    assert overfull() == (True, False)
    (own / "inner" / "file").unlink()
    for number in range(10):
        (own / "inner" / str(number)).touch()
    assert overfull() == (False, True)
    assert not traces.overfull(8, megabytes=1, inodes=1)


def test_the_folder_of_a_call_is_removed_beside_and_its_number_is_free_at_once(scratch: Path) -> None:
    own = Path(scratch_of(str(scratch), 7))
    traces = Aftermath("group", scratch=str(scratch))
    fill(own)

    traces.tidy(7)

    own.mkdir()
    (own / "next").touch()
    wait_until(lambda: list(scratch.iterdir()) == [own], "the folder is gone", timeout_seconds=SOON)
    assert [path.name for path in own.iterdir()] == ["next"]


def test_an_empty_folder_is_removed_by_the_zygote_itself(scratch: Path) -> None:
    def tidied() -> list[str]:
        Aftermath("group", scratch=str(scratch)).tidy(7)
        with pytest.raises(ChildProcessError):
            os.wait()
        return [path.name for path in scratch.iterdir()]

    # In a process of its own, which has no other children.
    assert in_child(tidied) == []


def test_what_dead_zygotes_left_is_removed_and_what_living_ones_have_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removers: list[int] = []
    remove_beside = aftermath._remove_beside
    monkeypatch.setattr(aftermath, "_remove_beside", lambda path: removers.append(remove_beside(path)))
    reading, writing = os.pipe()
    zygote = os.fork()
    if zygote == 0:
        os.write(writing, open_scratch(str(tmp_path)).encode())
        signal.pause()
        os._exit(0)
    os.close(writing)
    with closing(os.fdopen(reading)) as stream:
        theirs = Path(os.read(stream.fileno(), 4096).decode())
    (theirs / "1").mkdir()
    (theirs / "1" / "file").write_text("left")

    ours = Path(open_scratch(str(tmp_path)))
    assert theirs.exists()

    os.kill(zygote, signal.SIGKILL)
    os.waitpid(zygote, 0)
    open_scratch(str(tmp_path))
    wait_until(lambda: not theirs.exists(), "the dead one's scratch is gone", timeout_seconds=SOON)
    assert ours.exists()
    # By its number, for this process may have other children.
    (remover,) = removers
    assert os.waitpid(remover, 0)[1] == 0
