"""What many calls, and the sudden death of their supervisor, leave behind: nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from queues.settings import SandboxSettings
from tests.hostile.soak import Held, leaks, soak
from tests.support.hostile.host import MARK_VARIABLE, fresh_mark
from tests.support.hostile.rows import LIMITS
from tests.support.sandboxes import ROOT, mark, marked
from tests.support.waiting import is_running, wait_until
from workers.sandbox.cgroup_places import is_left_over
from workers.sandbox.cgroups import open_groups
from workers.sandbox.watching import descendants

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's"),
    pytest.mark.timeout(240),
    pytest.mark.slow,
]

_SUPERVISOR = """
import json, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queues.settings import SandboxSettings
from tests.support.hostile.rows import tools
from workers.sandbox.base import SandboxCall
from workers.sandbox.opening import open_sandbox
settings, sleep = json.loads(sys.argv[1]), sys.argv[2]
sandbox = open_sandbox(SandboxSettings.model_validate(settings), tools=tools(), project_dir=Path(sys.argv[3]))
def call(name):
    arguments = {"targets": {"sleep": sleep, "limits": settings}}
    sandbox.run(SandboxCall(name, arguments, "run_1:2:call_3"), cancelled=threading.Event())
with ThreadPoolExecutor(4) as threads:
    list(threads.map(call, ["stay_and_never_return", "stay_and_never_return", "sleep_for_ever", "spin"]))
"""


def test_many_calls_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK_VARIABLE, fresh_mark())
    settings = SandboxSettings.model_validate({**LIMITS, "level": "ns", "recycle_after": 60})

    assert soak(settings, calls=200, threads=2, seed=1, say=lambda _: None) == []


def test_a_leak_would_be_seen() -> None:
    before = Held.now()
    kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(200)]
    processes = [subprocess.Popen(["sleep", "60"]) for _ in range(5)]
    after = Held.now()
    for fd in kept:
        os.close(fd)
    for process in processes:
        process.kill()
        process.wait()

    assert [words.split(":")[0] for words in leaks(before, after)] == ["processes", "descriptors"]


@pytest.mark.parametrize("victim", ["supervisor", "launcher"])
def test_kill_9_in_the_middle_of_hostile_calls_leaves_nothing(tmp_path: Path, victim: str) -> None:
    tmp_path.chmod(0o755)
    sleep = mark()
    plan = json.dumps({**LIMITS, "level": "ns", "wall_seconds": 60, "cpu_seconds": 60})
    supervisor = subprocess.Popen([sys.executable, "-c", _SUPERVISOR, plan, sleep, str(tmp_path)], cwd=ROOT)
    try:
        wait_until(lambda: len(marked(sleep)) == 2, "two calls left a daemon", timeout_seconds=60)
        below = descendants(supervisor.pid)
        killed = supervisor.pid if victim == "supervisor" else below[0]
        os.kill(killed, signal.SIGKILL)
        expected = below if victim == "supervisor" else below[1:]
        # Well before any limit of the calls would have ended them.
        wait_until(lambda: not any(map(is_running, expected)), "all of its processes are gone", timeout_seconds=20)
        wait_until(lambda: not marked(sleep), "the daemons are gone", timeout_seconds=20)
    finally:
        supervisor.kill()
        supervisor.wait()
    wait_until(lambda: not any(map(is_running, descendants(supervisor.pid))), "nothing is left")
    _groups_are_swept(supervisor.pid)


def _groups_are_swept(pid: int) -> None:
    def left() -> list[str]:
        groups = open_groups()
        if groups is not None:
            groups.close()
        folders = [name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names if f"-{pid}-" in name]
        return [name for name in folders if is_left_over(name)]

    wait_until(lambda: not left(), "the dead supervisor's groups are swept")
