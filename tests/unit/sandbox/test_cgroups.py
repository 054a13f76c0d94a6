"""Groups of the kernel around calls: on the real hierarchies where this machine lets us, on plain files for the rest.

What only a delegated version 2 hierarchy can show (its memory limit at work) is not shown here; reading, writing,
moving, killing and removing are tried on a real one with whatever controller it has.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.waiting import is_running, wait_until
from workers.sandbox.base import Limits
from workers.sandbox.cgroup_places import SUPERVISORS_LEAF
from workers.sandbox.cgroups import V2, CallGroup, CallGroups, open_groups

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")

UNIFIED = next((path for path in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")) if
                (path / "cgroup.controllers").exists() and os.access(path, os.W_OK)), None)  # fmt: skip


@pytest.fixture
def groups() -> Iterator[CallGroups]:
    opened = open_groups()
    if opened is None:
        pytest.skip("no control group can be made here")
    yield opened
    opened.close()


def _member(group: CallGroup, script: str) -> subprocess.Popen[str]:
    """A Python process that runs the script once it belongs to the group."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"import os, sys, time\nsys.stdin.read(1)\n{script}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    group.add(process.pid)
    assert process.stdin is not None
    process.stdin.write("x")
    process.stdin.close()
    return process


def _reaped(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    process.stdout.close()
    return process.wait(60)


def test_memory_of_a_whole_call_is_limited_and_the_call_can_be_killed(groups: CallGroups) -> None:
    group = groups.create(Limits(memory_mb=64))
    hog = _member(group, "if os.fork() == 0:\n  bytearray(200 << 20); os._exit(0)\ntime.sleep(60)")

    wait_until(group.ran_out_of_memory, "the kernel kills for memory")
    group.kill()
    assert _reaped(hog) == -signal.SIGKILL
    assert 32 << 20 < group.memory_peak_bytes() <= 64 << 20
    groups.remove(group)


def test_a_modest_call_meets_no_limit_and_its_use_is_measured(groups: CallGroups) -> None:
    group = groups.create(Limits(memory_mb=64))
    modest = _member(group, "if os.fork() == 0:\n  sum(range(4_000_000)); os._exit(0)\nos.wait(); bytearray(20 << 20)")

    assert _reaped(modest) == 0
    assert not group.ran_out_of_memory() and not group.pids_refused()
    assert group.memory_peak_bytes() > 20 << 20
    used = group.cpu_seconds()
    assert used is None or used > 0.05
    assert group.remove() and group.remove()


def test_processes_of_a_whole_call_are_limited(groups: CallGroups) -> None:
    group = groups.create(Limits(pids=8))
    bomb = _member(
        group,
        "n = 0\ntry:\n  while n < 30:\n    if os.fork() == 0: time.sleep(60); os._exit(0)\n    n += 1\n"
        "except BlockingIOError: pass\nprint(n, flush=True); time.sleep(60)",
    )

    assert bomb.stdout is not None
    assert int(bomb.stdout.readline()) == 7
    assert group.pids_refused()
    groups.remove(group)
    assert _reaped(bomb) == -signal.SIGKILL


def test_a_fork_bomb_cannot_outrun_its_end(groups: CallGroups) -> None:
    group = groups.create(Limits(pids=200, memory_mb=1024))
    bomb = _member(
        group,
        "print(flush=True)\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    )
    assert bomb.stdout is not None
    bomb.stdout.readline()

    wait_until(group.remove, "the group is empty and gone")
    assert _reaped(bomb) == -signal.SIGKILL


def test_what_a_killed_supervisor_left_is_swept_by_the_next_and_the_living_keep_theirs(groups: CallGroups) -> None:
    kept = groups.create(Limits())
    script = (
        "import os, subprocess, sys\nfrom workers.sandbox.base import Limits\n"
        "from workers.sandbox.cgroups import open_groups\ngroup = open_groups().create(Limits())\n"
        "left = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL)\ngroup.add(left.pid)\n"
        "print(left.pid, *set(map(str, group.folders.values())), flush=True)\nsys.stdin.read()"
    )
    dying = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert dying.stdin is not None and dying.stdout is not None
    pid, *folders = dying.stdout.readline().split()
    # Once it is dead, whoever opens groups on this machine sweeps them.
    assert all(Path(folder).exists() for folder in folders)
    dying.kill()
    dying.wait()
    dying.stdin.close()
    dying.stdout.close()

    def swept() -> bool:
        other = open_groups()
        assert other is not None
        other.close()
        return not any(Path(folder).exists() for folder in folders)

    # More than one look, for the kernel may still be ending the process that was in there.
    wait_until(swept, "the leftovers are gone")
    assert not is_running(int(pid))
    assert all(folder.exists() for folder in set(kept.folders.values()))
    assert kept.remove()


def test_a_group_of_the_dead_cannot_be_joined(groups: CallGroups) -> None:
    group = groups.create(Limits())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(OSError, match="No such process"):
        group.add(ended.pid)
    groups.remove(group)


@pytest.mark.skipif(UNIFIED is None, reason="no version 2 hierarchy can be written to here")
def test_a_real_version_2_group_takes_in_kills_and_goes() -> None:
    assert UNIFIED is not None
    # Its memory controller may be bound to version 1, as it is on hybrid machines; then limits cannot be shown here.
    kind = replace(V2, written=lambda limits: ())
    groups = CallGroups(kind, {"memory": UNIFIED, "pids": UNIFIED})
    group = groups.create(Limits())
    member = _member(
        group, "if os.fork() == 0: time.sleep(60)\nsum(range(3_000_000)); print(flush=True); time.sleep(60)"
    )
    assert member.stdout is not None
    member.stdout.readline()

    assert (group.cpu_seconds() or 0) > 0.01
    wait_until(group.remove, "the group is empty and gone")
    assert _reaped(member) == -signal.SIGKILL


@pytest.mark.skipif(UNIFIED is None, reason="no version 2 hierarchy can be written to here")
@pytest.mark.parametrize("stranger", [False, True])
def test_a_supervisor_makes_room_above_itself_only_where_nobody_else_lives(stranger: bool) -> None:
    assert UNIFIED is not None
    controllers = (UNIFIED / "cgroup.controllers").read_text().split()
    switch = UNIFIED / "cgroup.subtree_control"
    if not controllers:
        pytest.skip("this hierarchy has no controllers")
    before, chosen = switch.read_text().split(), controllers[0]
    base = UNIFIED / f"errandry-test-{os.getpid()}"
    base.mkdir()
    switch.write_text(f"+{chosen}")
    script = (
        "import os, pathlib, sys\nfrom workers.sandbox.cgroup_places import hand_down\n"
        "base = pathlib.Path(sys.argv[1])\n"
        "(base / 'cgroup.procs').write_text(str(os.getpid()))\n"
        "try:\n  hand_down(base, controllers=(sys.argv[2],))\n"
        "  print('done', (base / 'cgroup.subtree_control').read_text())\n"
        "except OSError as error: print(error)"
    )
    other = subprocess.Popen(["sleep", "60"])
    try:
        if stranger:
            (base / "cgroup.procs").write_text(str(other.pid))
        done = subprocess.run(
            [sys.executable, "-c", script, str(base), chosen], capture_output=True, text=True, check=True, timeout=30
        )
    finally:
        other.kill()
        other.wait()
        for folder in (base / SUPERVISORS_LEAF, base):
            if folder.exists():
                wait_until(lambda folder=folder: _gone(folder), "the group is gone")  # type: ignore[misc]
        if chosen not in before:
            switch.write_text(f"-{chosen}")
    assert done.stdout.split() == (
        ["[Errno", "16]", "Device", "or", "resource", "busy"] if stranger else ["done", chosen]
    )


def _gone(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()
    return True


def _tree(tmp_path: Path, *, mounts: str, own: str) -> Path:
    proc = tmp_path / "proc"
    (proc / "self/ns").mkdir(parents=True)
    (proc / "self/ns/pid").touch()
    (proc / str(os.getpid())).mkdir()
    (proc / str(os.getpid()) / "stat").write_text(Path("/proc/self/stat").read_text())
    (proc / "self/mountinfo").write_text(mounts)
    (proc / "self/cgroup").write_text(own)
    return proc


@pytest.mark.parametrize("controllers", ["cpu memory pids", "cpu", ""])
def test_version_2_without_working_limits_counts_as_no_groups_at_all(tmp_path: Path, controllers: str) -> None:
    # Plain files play a hierarchy that lists its controllers and then does not give a new group its limits.
    mount = tmp_path / "cgroup"
    own = mount / "unit"
    own.mkdir(parents=True)
    (own / "cgroup.controllers").write_text(controllers)
    (own / "cgroup.subtree_control").write_text(controllers)
    proc = _tree(tmp_path, mounts=f"1 1 0:1 / {mount} rw - cgroup2 cgroup2 rw\n", own="0::/unit\n")

    assert open_groups(proc=proc) is None
    assert [entry.name for entry in own.iterdir() if entry.is_dir()] == []


def test_a_group_outside_what_is_mounted_here_is_nobodys(tmp_path: Path) -> None:
    proc = _tree(
        tmp_path, mounts=f"1 1 0:1 /docker/other {tmp_path} rw - cgroup2 cgroup2 rw\n", own="0::/docker/mine\n"
    )
    assert open_groups(proc=proc) is None


def test_version_2_is_read_and_written_by_its_own_names(tmp_path: Path) -> None:
    group = CallGroup(V2, {"memory": tmp_path, "pids": tmp_path})
    assert (group.memory_peak_bytes(), group.cpu_seconds(), group.ran_out_of_memory()) == (0, None, False)
    for name, text in {
        "memory.current": "4096\n",
        "memory.events": "low 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n",
        "cpu.stat": "usage_usec 1500000\nuser_usec 1000000\n",
        "pids.events": "max 3\n",
        "cgroup.kill": "",
        "cgroup.procs": "",
    }.items():
        (tmp_path / name).write_text(text)

    assert (group.memory_peak_bytes(), group.cpu_seconds()) == (4096, 1.5)
    assert group.ran_out_of_memory() and group.pids_refused()
    (tmp_path / "memory.peak").write_text("8192\n")
    assert group.memory_peak_bytes() == 8192
    group.add(os.getpid())
    group.kill()
    assert (tmp_path / "cgroup.kill").read_text() == "1"
    written = {file: value for _, file, value, _ in V2.written(Limits(memory_mb=1, pids=5))}
    assert written == {"memory.max": 1 << 20, "memory.swap.max": 0, "memory.oom.group": 1, "pids.max": 5}
