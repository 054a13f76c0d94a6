"""The whole walk in real processes: a server, a scripted model, an agent worker and the tool workers of two pools."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from queues.client import Client
from queues.settings import Settings, load_settings
from tests.support.waiting import wait_until
from workers.child import ChildCommand
from workers.model_server.script import load_script
from workers.model_server.server import ModelServer
from workers.processes import ProcessGroup

PROJECT = Path(__file__).parent / "walk"
_READY = re.compile(r" ready\.$")


@dataclass(frozen=True)
class Walk:
    """A project whose processes run."""

    client: Client
    settings: Settings
    processes: ProcessGroup
    model: ModelServer
    lines: list[str]


@contextmanager
def walking(folder: Path, redis_url: str, *, lease_seconds: float = 3) -> Iterator[Walk]:
    """The project of `walk/` in a folder of its own, with all its workers ready."""
    folder.chmod(0o755)  # pytest makes it private to root, and tools never run as root
    for file in PROJECT.glob("*.*"):
        shutil.copy(file, folder / file.name)
    settings = load_settings(folder, redis_url=redis_url, lease_seconds=lease_seconds)
    lines: list[str] = []
    with (
        ModelServer(load_script(folder / "model_script.toml")) as model,
        ProcessGroup(on_line=lambda name, line: lines.append(f"{name} | {line}")) as processes,
    ):
        walk = Walk(Client(redis_url), settings, processes, model, lines)
        processes.start(
            agent_worker(walk, name="agents"), *(tool_worker(walk, pool, name=pool) for pool in settings.pools)
        )
        yield walk
        walk.client.close()


def agent_worker(walk: Walk, *, name: str) -> ChildCommand:
    """The worker that holds the model's key."""
    model = {"OPENAI_BASE_URL": walk.model.base_url, "OPENAI_API_KEY": "sk-of-the-agent-worker"}
    return _worker(walk.settings, name, "workers.agent_worker", model)


def tool_worker(walk: Walk, pool: str, *, name: str) -> ChildCommand:
    """A worker of the pool."""
    return _worker(walk.settings, name, "workers.tool_worker", {"ERRANDRY_WORKER_POOL": pool})


def kill(walk: Walk, name: str) -> None:
    """End a worker by SIGKILL, and wait until it is gone."""
    os.kill(walk.processes.pids()[name], signal.SIGKILL)
    wait_until(lambda: name not in walk.processes.pids(), f"{name} is gone")


def dying(command: ChildCommand, *, at: str, flag: Path) -> ChildCommand:
    """The same worker, which kills itself at a telemetry event (`name:occurrence`); the flag says that it has."""
    words = list(command.command)
    module = words.index("-A") + 1
    more = {"DYING_MODULE": words[module], "DYING_AT": at, "DYING_FLAG": str(flag)}
    words[module] = "tests.support.dying"
    return replace(command, command=words, env={**command.env, **more})


def _worker(settings: Settings, name: str, module: str, more: dict[str, str]) -> ChildCommand:
    """A worker as Celery's own command starts it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ERRANDRY_", "OPENAI_"))}
    root = Path(__file__).parents[2]
    return ChildCommand(
        name=name,
        command=[sys.executable, "-m", "celery", "-A", module, "worker", "--pool=threads", "--concurrency=4",
                 f"--hostname={name}@test", "--without-gossip", "--without-mingle", "--task-events", "--loglevel=INFO"],
        env={**kept, **settings.as_environment(), **more, "PYTHONPATH": f"{root}:{settings.project_dir}"},
        cwd=settings.project_dir,
        ready_line=_READY,
        ready_timeout_seconds=60,
    )  # fmt: skip
