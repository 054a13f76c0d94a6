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

from queues.acl import AGENTS, FLOWER, pool_user
from queues.client import Client
from queues.redis_url import resolved, url_of
from queues.settings import Settings, load_settings
from tests.support.ports import free_port
from tests.support.redis_users import let_in, without_user
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
def walking(
    folder: Path,
    redis_url: str,
    *,
    lease_seconds: float = 3,
    start_workers: bool = True,
    with_users: bool = True,
    source: Path = PROJECT,
) -> Iterator[Walk]:
    """A project, that of `walk/`, in a folder of its own, with all its workers ready, unless the test starts its own.

    `redis_url` is that of the server's owner; each worker, and the client, is a Redis user of its own, or none.
    """
    folder.chmod(0o755)  # pytest makes it private to root, and tools never run as root
    for file in source.glob("*.*"):
        shutil.copy(file, folder / file.name)
    address: dict[str, object] = {"redis_url": redis_url}
    if with_users:
        address = {"redis_url": without_user(redis_url), "redis_users": Path("users.json")}
    settings = load_settings(folder, lease_seconds=lease_seconds, **address)
    if with_users:
        let_in(redis_url, settings)
    lines: list[str] = []
    with (
        ModelServer(load_script(folder / "model_script.toml")) as model,
        ProcessGroup(on_line=lambda name, line: lines.append(f"{name} | {line}")) as processes,
    ):
        walk = Walk(Client(url_of(settings)), settings, processes, model, lines)
        if start_workers:
            processes.start(
                agent_worker(walk, name="agents"), *(tool_worker(walk, pool, name=pool) for pool in settings.pools)
            )
        yield walk
        walk.client.close()


def agent_worker(walk: Walk, *, name: str) -> ChildCommand:
    """The worker that holds the model's key."""
    model = {"OPENAI_BASE_URL": walk.model.base_url, "OPENAI_API_KEY": "sk-of-the-agent-worker"}
    return _worker(resolved(walk.settings, AGENTS), name, "workers.agent_worker", model)


def tool_worker(walk: Walk, pool: str, *, name: str) -> ChildCommand:
    """A worker of the pool."""
    settings = resolved(walk.settings, pool_user(pool))
    return _worker(settings, name, "workers.tool_worker", {"ERRANDRY_WORKER_POOL": pool})


def flower(walk: Walk) -> ChildCommand:
    """Flower, on a port of its own."""
    return ChildCommand(
        name="flower",
        command=[sys.executable, "-P", "-m", "workers.cli", "flower", "--port", str(free_port())],
        env={**_environment(resolved(walk.settings, FLOWER)), "PYTHONUNBUFFERED": "1"},
        cwd=walk.settings.project_dir,
        ready_line=re.compile("Flower is ready at"),
        ready_timeout_seconds=60,
    )


def kill(walk: Walk, name: str) -> None:
    """End a worker by SIGKILL, and wait until it is gone."""
    os.kill(walk.processes.pids()[name], signal.SIGKILL)
    wait_until(lambda: name not in walk.processes.pids(), f"{name} is gone")


def breakable(command: ChildCommand, folder: Path) -> ChildCommand:
    """The same worker, which breaks itself at telemetry events as the bench in the folder orders."""
    words = list(command.command)
    module = words.index("-A") + 1
    more = {"BREAKING_MODULE": words[module], "BREAKING_FOLDER": str(folder)}
    words[module] = "tests.support.breaking"
    return replace(command, command=words, env={**command.env, **more})


def _worker(settings: Settings, name: str, module: str, more: dict[str, str]) -> ChildCommand:
    """A worker as Celery's own command starts it."""
    return ChildCommand(
        name=name,
        command=[sys.executable, "-m", "celery", "-A", module, "worker", "--pool=threads", "--concurrency=4",
                 f"--hostname={name}@test", "--without-gossip", "--without-mingle", "--task-events", "--loglevel=INFO"],
        env={**_environment(settings), **more},
        cwd=settings.project_dir,
        ready_line=_READY,
        ready_timeout_seconds=60,
    )  # fmt: skip


def _environment(settings: Settings) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ERRANDRY_", "OPENAI_", "FLOWER_"))}
    path = f"{Path(__file__).parents[2]}:{settings.project_dir}"
    return {**kept, **settings.as_environment(), "PYTHONPATH": path}
