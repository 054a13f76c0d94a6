"""A project of our own whose processes all run: its embedded server, agent worker and tool worker, and a client.

Nothing of it is left after its block: neither a process nor a file.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from agent_core.run import RunOutput, RunStatus
from queues.client import Client, RunHandle
from queues.connections import connect
from queues.redis_url import url_of
from queues.settings import Settings, load_settings
from workers.bench.errors import BenchError
from workers.bench.model import READY
from workers.child import ChildCommand
from workers.processes import ProcessGroup
from workers.up import Running, running

POOL = "bench"
CALLER, REMEMBERER = "caller", "rememberer"
_PROJECT = Path(__file__).parent / "project"
_DRAIN_SECONDS = 10.0
_RUN_SECONDS = 120.0


@dataclass(frozen=True)
class Rig:
    """A running project, its client, and a connection of the server's owner."""

    project: Running
    client: Client
    admin: redis.Redis

    @property
    def url(self) -> str:
        """The address of the server's owner."""
        assert self.project.server is not None
        return self.project.server.url

    def pids(self) -> dict[str, int]:
        """The processes, by class."""
        pids = self.project.pids()
        return {"agent worker": pids["agent-worker"], "tool worker": pids[f"tool-worker {POOL}"]}


def finished(run: RunHandle) -> RunOutput:
    """The run at its end; BenchError unless it is COMPLETED."""
    output = run.wait(timeout=_RUN_SECONDS)
    failed = [call for call in output.tools if call.tool_call_error]
    if output.status is not RunStatus.COMPLETED or failed:
        said = output.error or (str(failed[0].result) if failed else "")
        raise BenchError(f"A run of the benchmark ended in {output.status}, not as it should: {said}")
    return output


def write_project(folder: Path, model_url: str) -> Path:
    """Copy the project of the benchmarks into a folder; returns its settings' file."""
    shutil.copytree(_PROJECT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    folder.chmod(0o755)  # tools never run as root, and have to find theirs
    (folder / "model_url").write_text(model_url, encoding="utf-8")
    return folder / "errandry.toml"


def settings_of(config: Path, *, level: str, agent_concurrency: int = 20) -> Settings:
    """The settings of a project of the benchmarks, whose sandbox has that level or a better one."""
    return load_settings(
        config, log_format="text", agent_concurrency=agent_concurrency, pools={POOL: {"sandbox": {"level": level}}}
    )


@contextmanager
def open_rig(settings: Settings, *, with_pages: bool = False) -> Iterator[Rig]:
    """Start everything of the project, wait until it is ready, and stop it at the end of the block.

    `with_pages` also starts the gateway and Flower, as `errandry up` does.
    """
    port = 0 if with_pages else None
    with running(
        settings, on_line=lambda _name, _line: None, flower_port=port, gateway_port=port, drain_seconds=_DRAIN_SECONDS
    ) as project:
        assert project.server is not None
        client, admin = Client(url_of(project.settings)), connect(project.server.url)
        with client, admin:
            yield Rig(project, client, admin)


@dataclass(frozen=True)
class Model:
    """The model server, a process of its own."""

    url: str
    pid: int


@contextmanager
def open_model(folder: Path, environment: Mapping[str, str]) -> Iterator[Model]:
    """Start the model server, and stop it at the end of the block."""
    said: list[str] = []
    command = ChildCommand(
        name="model",
        command=[sys.executable, "-P", "-m", "workers.bench.model"],
        env=environment,
        cwd=folder,
        ready_line=re.compile(READY),
    )
    with ProcessGroup(on_line=lambda _, line: said.append(line), drain_seconds=0) as group:
        group.start(command)
        url = next(line for line in said if line.startswith(READY)).rpartition(" ")[2]
        yield Model(url, group.pids()["model"])


@contextmanager
def without_variables(prefixes: Sequence[str]) -> Iterator[None]:
    """Within the block this process's environment has none that begins so: what is measured has its own settings."""
    taken = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(tuple(prefixes))}
    try:
        yield
    finally:
        os.environ.update(taken)
