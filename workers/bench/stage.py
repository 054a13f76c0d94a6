"""What the benchmarks of one command share, each part started at its first use: the model, the rig, the floor.

It measures nothing. Leaving its block stops everything that it started.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import JsonValue

from agent_core.run import RunOutput
from queues.run_handle import RunHandle
from queues.settings import Settings
from workers.bench.floor import BareCalls, BareRequests, Chain, open_chain
from workers.bench.rig import POOL, Model, Rig, finished, open_model, open_rig, settings_of, write_project
from workers.sandbox.base import Sandbox, SandboxUnavailableError
from workers.sandbox.opening import open_sandbox

_LEAST_LEVELS = ("landlock", "seatbelt", "none")
_FLOOR_DATABASE = "1"
_MOST_CALLS = 8

Progress = Callable[[str, int, int], object]
"""Told what is measured, how much of it is done, and of how much."""


class Stage:
    """Everything that runs while benchmarks are taken; `folder` is theirs alone."""

    def __init__(self, folder: Path, *, quick: bool, progress: Progress) -> None:
        self.folder = folder
        self.quick = quick
        self.progress = progress
        self.details: dict[str, JsonValue] = {}
        self.level = ""
        self.server: dict[str, str] = {}
        self.runs = 0
        self._stack = ExitStack()
        self._model: Model | None = None
        self._rig: Rig | None = None
        self._floor: ExitStack | None = None
        self._chain: Chain | None = None

    def run(self, run: RunHandle) -> RunOutput:
        """The run at its end, counted; BenchError unless it is COMPLETED."""
        output = finished(run)
        self.runs += 1
        return output

    def size(self, full: int, quick: int) -> int:
        """How many, by the length that was asked for."""
        return quick if self.quick else full

    @property
    def model(self) -> Model:
        """The model server."""
        if self._model is None:
            self._model = self._stack.enter_context(open_model(self.folder, dict(os.environ)))
        return self._model

    @property
    def rig(self) -> Rig:
        """The project, with all its processes, as `errandry up` starts it."""
        if self._rig is None:
            self.progress("starting the project", 0, 0)
            self._rig = self._stack.enter_context(open_rig(self.settings()))
            self.server = _versions(self._rig)
        return self._rig

    @property
    def chain(self) -> Chain:
        """The bare Celery chain, on the rig's server, in a database of its own."""
        if self._chain is None:
            url = self.rig.url.rpartition("/")[0] + f"/{_FLOOR_DATABASE}"
            self.progress("starting the bare Celery chain", 0, 0)
            self._floor = ExitStack()
            self._stack.enter_context(self._floor)
            self._chain = self._floor.enter_context(open_chain(url, folder=self.folder, environment=dict(os.environ)))
        return self._chain

    @cached_property
    def requests(self) -> BareRequests:
        """The bare SDK."""
        return self._stack.enter_context(closing(BareRequests(self.model.url)))

    @cached_property
    def calls(self) -> BareCalls:
        """The sandbox of the rig's pool, in this process."""
        self._find_level()
        return self._stack.enter_context(closing(BareCalls(self._open(self.level), most=_MOST_CALLS)))

    def settings(self, name: str = "project", *, agent_concurrency: int = 20) -> Settings:
        """The settings of a project in a folder of its own, with the best sandbox that this machine holds."""
        self._find_level()
        config = write_project(self.folder / name, self.model.url)
        return settings_of(config, level=self.level, agent_concurrency=agent_concurrency)

    def stop_floor(self) -> None:
        """End the workers of the bare chain: they would ask the server while something else is counted there."""
        if self._floor is not None:
            self._floor.close()
        self._floor = self._chain = None

    def note(self, name: str, value: JsonValue) -> None:
        """Keep something that is no figure for the file and for people."""
        self.details[name] = value

    def _find_level(self) -> None:
        """The best level of the sandbox here, by trying; `none` if this machine holds no wall at all."""
        for level in _LEAST_LEVELS if not self.level else ():
            try:
                with closing(self._open(level)) as sandbox:
                    self.level = sandbox.level.value
                    return
            except SandboxUnavailableError:
                if level == _LEAST_LEVELS[-1]:
                    raise

    def _open(self, level: str) -> Sandbox:
        config = write_project(self.folder / "bare", self.model.url)
        pool = settings_of(config, level=level).pools[POOL]
        return open_sandbox(pool.sandbox, tools=pool.tools, project_dir=config.parent, pool_name=POOL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


def _versions(rig: Rig) -> dict[str, str]:
    told = rig.admin.info("server")
    name = str(told.get("server_name", "redis"))
    return {"name": name, "version": str(told.get(f"{name}_version", told["redis_version"]))}
