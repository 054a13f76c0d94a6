"""A pool whose tools work in the run's workspace, and a walk through its calls that any user can take.

It imports no test; an ordinary user runs it in an interpreter of its own.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from queues.settings import SandboxSettings
from tests.support.levels import opened_at, project_with
from workers.sandbox.base import Outcome, Sandbox, SandboxCall, SandboxLevel

TOOLS = """
import json, os, subprocess, sys, time

def write(name: str, text: str) -> str:
    with open(os.path.join(os.environ["ERRANDRY_WORKSPACE"], name), "a") as file:
        file.write(text)
    return read(name)

def read(name: str) -> str:
    with open(os.path.join(os.environ["ERRANDRY_WORKSPACE"], name)) as file:
        return file.read()

def names() -> list[str]:
    return sorted(os.listdir(os.environ["ERRANDRY_WORKSPACE"]))

def place() -> list[str]:
    return [os.environ.get("ERRANDRY_WORKSPACE", ""), os.getcwd()]

def shell(command: str) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=os.environ["ERRANDRY_WORKSPACE"])
    return done.stdout + done.stderr

def write_and(name: str, text: str, then: str) -> str:
    write(name, text)
    if then == "raise":
        raise ValueError("on purpose")
    if then == "exit":
        os._exit(3)
    if then == "leave":
        sys.exit(0)
    time.sleep(60)

def slowly(name: str, seconds: float) -> str:
    before = read(name) if name in names() else ""
    time.sleep(seconds)
    with open(os.path.join(os.environ["ERRANDRY_WORKSPACE"], name), "w") as file:
        file.write(before + "x")
    return before + "x"

def grow(megabytes: int, sparse: bool) -> str:
    with open(os.path.join(os.environ["ERRANDRY_WORKSPACE"], "large"), "wb") as file:
        if sparse:
            file.truncate(megabytes << 20)
        else:
            for _ in range(megabytes):
                file.write(os.urandom(1 << 20))
    return "grown"

def keep_writing() -> str:
    subprocess.Popen(["/bin/sh", "-c", "while :; do date >> log; done"], cwd=os.environ["ERRANDRY_WORKSPACE"])
    while "log" not in names():
        time.sleep(0.01)
    return "left behind"
"""
NAMES = ("write", "read", "names", "place", "shell", "write_and", "slowly", "grow", "keep_writing")


def called(
    sandbox: Sandbox,
    run_id: str,
    tool: str,
    *,
    timeout_seconds: float | None = None,
    cancelled: threading.Event | None = None,
    **arguments: Any,
) -> Outcome:
    """One call of a run."""
    call = SandboxCall(tool, arguments, idempotency_key=f"{run_id}:1:call", timeout_seconds=timeout_seconds)
    return sandbox.run(call, cancelled=cancelled or threading.Event())


def walk(level: str) -> dict[str, object]:
    """Write twice, be killed once, look into another run; what each call said."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        project = project_with(Path(folder) / "project", TOOLS)
        settings = SandboxSettings(workspace_mb=4, inodes=256)
        with closing(opened_at(SandboxLevel(level), settings, project, *NAMES)) as sandbox:
            said = [called(sandbox, "run_1", "write", name="a", text=text).content for text in ("one ", "two")]
            killed = called(sandbox, "run_1", "write_and", timeout_seconds=2, name="a", text="x", then="wait")
            said.append(called(sandbox, "run_1", "read", name="a").content)
            said.append(called(sandbox, "run_2", "names").content)
            return {"said": said, "killed": killed.outcome.value, "level": sandbox.level.value}
