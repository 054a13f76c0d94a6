"""Sandboxes at a level of one's choice, whatever better one this machine has, for a project written on the spot.

It never falls back: a level that is not to be had here fails the test.
"""

from __future__ import annotations

from pathlib import Path

from queues.settings import SandboxSettings
from workers.sandbox.base import Sandbox, SandboxLevel
from workers.sandbox.opening import open_sandbox
from workers.sandbox.references import Secrets
from workers.sandbox.walls import Pool, open_wall
from workers.sandbox.workspace import store_for


def project_with(folder: Path, code: str, *, module: str = "pool_tools") -> Path:
    """A project in `folder` whose one module holds `code`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    return folder


def opened_at(
    level: SandboxLevel,
    settings: SandboxSettings,
    project: Path,
    *tools: str,
    pool_name: str = "shell",
    **variables: str,
) -> Sandbox:
    """A sandbox for the tools of `project_with`; `variables` stand for the worker's environment."""
    strings = tuple(f"pool_tools:{tool}" for tool in tools)
    if level in (SandboxLevel.NS, SandboxLevel.NONE):
        chosen = settings.model_copy(update={"level": level.value})
        sandbox = open_sandbox(chosen, tools=strings, project_dir=project, environment=variables, pool_name=pool_name)
    else:
        store = store_for(settings, pool=pool_name, project_dir=project)
        secrets = Secrets(settings.secrets, variables)
        sandbox = open_wall(Pool(settings, strings, project, settings.set_env, secrets, store), level)
    assert sandbox.level is level
    sandbox.describe()
    return sandbox
