"""The example executors as processes of their own, at a gateway that asks for keys, in a project that runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis

from agent_core.events import ToolCallExecuting
from queues import keys
from queues.announcements import announced
from queues.client import RunHandle
from queues.connections import connect
from tests.support.gateways import Served, serving
from tests.support.processes import processes_of
from tests.support.waiting import wait_until
from tests.support.walking import Walk, agent_worker, walking
from workers.gateway.api_keys import create_key

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
PROJECT = Path(__file__).parent / "remote"
BOUND = 60.0

_COUNT = """#!/usr/bin/env python3
import json, sys
text = json.load(sys.stdin)["text"]
print(json.dumps({"letters": len(text), "words": len(text.split())}))
"""
_WAIT = """#!/usr/bin/env python3
import json, sys, time
seconds = float(json.load(sys.stdin)["seconds"])
time.sleep(seconds)
print("waited", seconds)
"""


@dataclass
class Executor:
    """One of them; `name` is what people see beside its calls."""

    process: subprocess.Popen[str]
    name: str

    def kill(self) -> None:
        """SIGKILL, to itself alone: what it has started is left to itself."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(BOUND)


@dataclass
class Remote:
    """A project with an agent worker, a gateway, and executors."""

    walk: Walk
    served: Served
    owner: redis.Redis
    key: str
    folder: Path
    executors: list[Executor] = field(default_factory=list)

    def start(self, kind: str) -> Executor:
        """Start an example by the ending of its file, and wait until it has asked for calls."""
        command = {
            "mjs": ["node", str(EXAMPLES / "executor.mjs"), self.served.url, "remote"],
            "sh": ["bash", str(EXAMPLES / "executor.sh"), self.served.url, "remote", str(self.folder / "tools")],
        }[kind]
        environment = {**os.environ, "ERRANDRY_KEY": self.key}
        process = subprocess.Popen(command, env=environment, text=True, start_new_session=True)
        executor = Executor(process, "")
        self.executors.append(executor)

        def has_asked() -> bool:
            assert process.poll() is None, "the executor has ended"
            names = [one.worker for one in announced(self.owner, "remote")]
            executor.name = next((name for name in names if name.endswith(f":{process.pid}")), "")
            return bool(executor.name)

        wait_until(has_asked, "the executor has asked for calls", timeout_seconds=BOUND)
        return executor

    def stop_all(self) -> None:
        """End them, and all that they have started."""
        for executor in self.executors:
            with suppress(ProcessLookupError):
                os.killpg(executor.process.pid, signal.SIGKILL)
            executor.process.wait(BOUND)
        self.executors.clear()
        # `timeout` puts what it starts into a group of its own, which a killed executor leaves behind.
        for pid in processes_of(self.folder / "tools"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def remote_project(folder: Path, redis_url: str) -> Iterator[Remote]:
    """The project of `remote/`, whose agent worker is ready and whose gateway serves."""
    with ExitStack() as stack:
        walk = stack.enter_context(walking(folder, redis_url, lease_seconds=6, start_workers=False, source=PROJECT))
        walk.processes.start(agent_worker(walk, name="agents"))
        key = create_key(walk.settings.api_keys_file, "remote", roles=[], pools=["remote"])
        served = stack.enter_context(serving(walk.settings))
        tools = folder / "tools"
        tools.mkdir()
        for name, text in (("count_letters", _COUNT), ("wait", _WAIT)):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        owner = stack.enter_context(connect(redis_url))
        remote = Remote(walk, served, owner, key, folder)
        stack.callback(remote.stop_all)
        yield remote


def begun_by(remote: Remote, run: RunHandle) -> str:
    """Who executes the run's only call, as soon as it has said itself that it does.

    That the call was handed over is not enough: an executor that dies before it reads so has begun nothing.
    """
    begun = next(event for event in run.events(timeout=BOUND) if isinstance(event, ToolCallExecuting))
    part, lease = keys.part("remote", run.run_id, begun.step), f"lease:{begun.tool_call_id}"
    before = remote.owner.hget(part, lease)
    wait_until(lambda: remote.owner.hget(part, lease) != before, "a heartbeat", timeout_seconds=BOUND)
    return begun.worker


def missing_programs(kind: str) -> str | None:
    """What the example needs and this machine lacks."""
    needed = {"mjs": ["node"], "sh": ["bash", "curl", "timeout", "python3"]}[kind]
    lacking = [name for name in needed if shutil.which(name) is None]
    return f"needs {', '.join(lacking)}, which this machine lacks" if lacking else None
