"""Who a sandbox runs as: nobody if the worker is root, the worker's own user otherwise; and what is said if it cannot.

Both are tried on real processes; the refusal is a real one, by a kernel that allows no further namespace.
"""

import os
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.ordinary_user import UID, can_become_one, run_as_ordinary_user
from tests.support.sandboxes import ROOT, opened, run
from workers.sandbox.base import SandboxCall, ToolsUnreadableError
from workers.sandbox.opening import open_sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the wall is made of Linux namespaces")

_AS_ORDINARY_USER = """
import contextlib, json, os, signal, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tests.support.sandboxes import mark, marked, opened, run
from tests.support.waiting import wait_until
from workers.sandbox.watching import descendants
sandbox = opened()
said = {"worker": os.geteuid(), "add": run(sandbox, "add", a=1, b=2).content}
said["hog"] = run(sandbox, "hog", megabytes=400).content
said["canary"] = run(sandbox, "read_file", path=sys.argv[1]).outcome
said["own_canary"] = Path(sys.argv[1]).read_text()
said["forks"] = int(run(sandbox, "forks", wanted=150).content)
sign, cancelled = mark(), threading.Event()
with ThreadPoolExecutor(1) as threads:
    waiting = threads.submit(run, sandbox, "wait", seconds=60, mark=sign, cancelled=cancelled)
    wait_until(lambda: marked(sign) or waiting.done(), "the tool runs")
    said["tool"] = os.stat(f"/proc/{marked(sign)[0]}").st_uid
    cancelled.set()
    said["cancelled"] = waiting.result(60).outcome
for pid in descendants(os.getpid()):
    with contextlib.suppress(OSError):  # processes of calls come and go beside it
        if b"sandbox.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
            break
after = run(sandbox, "add", a=2, b=2)
while after.outcome == "lost":  # it was handed to a child of the dying one
    after = run(sandbox, "add", a=2, b=2)
said["after"] = after.content
said["level"] = after.level
sandbox.close()
said["left"] = marked(sign)
print(json.dumps(said))
"""


@pytest.mark.skipif(not can_become_one(), reason="only root can become another user")
def test_an_ordinary_worker_runs_tools_as_itself() -> None:
    canary = Path("/var/tmp") / f"errandry-canary-{os.getpid()}"
    canary.write_text("canary")
    canary.chmod(0o644)
    try:
        said = run_as_ordinary_user(_AS_ORDINARY_USER, str(canary))
    finally:
        canary.unlink()

    assert said["worker"] == said["tool"] == UID
    assert said["add"] == "3"
    assert "more than 256 MiB" in said["hog"]
    assert (said["own_canary"], said["canary"]) == ("canary", "failed")
    assert 30 < said["forks"] <= 64
    assert (said["cancelled"], said["left"]) == ("cancelled", [])
    assert (said["after"], said["level"]) == ("4", "ns")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary worker can read its own project")
@pytest.mark.parametrize("owner", [0, 4711])
def test_a_closed_project_is_lent_to_its_tools_and_to_nobody_else(tmp_path: Path, owner: int) -> None:
    (tmp_path / "secretive.py").write_text("def answer() -> str:\n    return open('note.txt').read()\n")
    (tmp_path / "note.txt").write_text("read by its own tool")
    for path in (tmp_path / "secretive.py", tmp_path / "note.txt"):
        path.chmod(0o600)
    tmp_path.chmod(0o700)
    for path in (tmp_path, *tmp_path.iterdir()):
        os.chown(path, owner, owner)
    with closing(open_sandbox(SandboxSettings(), tools=["secretive:answer"], project_dir=tmp_path)) as sandbox:
        sandbox.describe()
        said = sandbox.run(SandboxCall("answer", {}, "run:1:call"), cancelled=threading.Event())

    assert (said.outcome, said.content) == (CallOutcome.SUCCEEDED, "read by its own tool")
    assert (tmp_path.stat().st_uid, tmp_path.stat().st_mode & 0o777) == (owner, 0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary worker can read its own project")
def test_root_is_told_about_a_module_in_an_open_project_that_others_may_not_read(tmp_path: Path) -> None:
    (tmp_path / "closed.py").write_text("def answer() -> str:\n    return 'no'\n")
    (tmp_path / "closed.py").chmod(0o600)
    tmp_path.chmod(0o755)
    with (
        closing(open_sandbox(SandboxSettings(), tools=["closed:answer"], project_dir=tmp_path)) as sandbox,
        pytest.raises(ToolsUnreadableError, match="closed"),
    ):
        sandbox.describe()


def test_a_kernel_that_refuses_is_quoted_and_nothing_weaker_is_opened() -> None:
    sandbox = opened()
    said = run(sandbox, "open_another", project_dir=str(ROOT))
    sandbox.close()

    assert said.outcome is CallOutcome.SUCCEEDED
    assert "bwrap: No permissions to creat" in said.content
    assert "User namespaces are refused here. Set the sysctl" in said.content
