"""The way in: settings of a pool to a wall that has been tried out.

It never falls back: what the settings ask for is there and proven, or the pool is refused with the reason.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from queues.settings import SandboxSettings
from workers.sandbox.base import Limits, Sandbox, SandboxLevel, SandboxUnavailableError
from workers.sandbox.bootstrap import interpreter
from workers.sandbox.bubblewrap import base_environment
from workers.sandbox.calls import ProcessSandbox
from workers.sandbox.container_wall import open_container
from workers.sandbox.launching import Launcher
from workers.sandbox.plain import PlainProcesses, identity_for
from workers.sandbox.references import Secrets
from workers.sandbox.seatbelt import GAPS, SeatbeltProcesses, try_out
from workers.sandbox.visible import view_of
from workers.sandbox.walls import Pool, open_wall
from workers.sandbox.workspace import store_for

_RANKS = tuple(SandboxLevel)


def open_sandbox(
    settings: SandboxSettings,
    *,
    tools: Sequence[str],
    project_dir: Path,
    environment: Mapping[str, str] | None = None,
    pool_name: str = "",
) -> Sandbox:
    """A sandbox for the pool's tools (import strings), tried out before it is returned; close it when the pool ends.

    `environment` is where the pool's variables and secrets are looked up, by default this process's own; `pool_name`
    says whose workspaces its calls find, and whose processes operators are told of. Raises `SandboxUnavailableError`
    with the probe's words and the remedy; it never returns a weaker wall than was asked for.
    """
    variables = os.environ if environment is None else environment
    passed = {name: variables[name] for name in settings.env if name in variables} | settings.set_env
    secrets = Secrets(settings.secrets, variables)
    workspaces = store_for(settings, pool=pool_name, project_dir=project_dir)
    pool = Pool(settings, tuple(tools), project_dir, passed, secrets, workspaces, pool_name)
    pool.secrets()
    if settings.backend == "container":
        return open_container(pool)
    if settings.least_level == "none" and settings.backend != "bubblewrap":
        return _plain(pool)
    if settings.backend in ("process", "none"):
        raise SandboxUnavailableError(
            f'backend = "{settings.backend}" means no sandbox, but this pool asks for level = "{settings.level}". Set '
            'backend = "auto", or spell out level = "none" if the tools of this pool may do whatever the worker may.'
        )
    return _climbed(pool)


def _plain(pool: Pool) -> Sandbox:
    project = pool.project_dir.resolve()
    python_path = [str(project / entry) for entry in pool.settings.python_path] + [entry for entry in sys.path if entry]
    needed = [Path(sys.executable), project, *(Path(entry) for entry in python_path if Path(entry).exists())]
    argv = interpreter(python_path, module="workers.sandbox.runner", chdir=str(project))
    launcher = Launcher(identity=identity_for(needed))
    launcher.start()
    return ProcessSandbox(
        level=SandboxLevel.NONE,
        limits=Limits.from_settings(pool.settings),
        launcher=launcher,
        children=PlainProcesses(launcher, argv, base_environment()),
        pool_name=pool.name,
        tools=pool.tools,
        project_dir=project,
        environment=pool.environment,
        secrets=pool.secrets,
        workspaces=pool.workspaces,
        detail={"namespaces": [], "cgroup": "watch", "network": "host"},
    )


def _behind_a_profile(pool: Pool) -> Sandbox:
    settings, network = pool.settings, pool.settings.network == "host"
    if settings.network == "allowlist":
        raise SandboxUnavailableError('network = "allowlist" needs network namespaces, which only Linux has.')
    view = view_of(pool.project_dir, mounts=settings.mounts, python_path=settings.python_path, network=network)
    try_out(view)
    argv = interpreter(view.python_path, module="workers.sandbox.runner", chdir=str(view.project_dir))
    environment = {"PATH": base_environment()["PATH"]}
    return ProcessSandbox(
        level=SandboxLevel.SEATBELT,
        limits=Limits.from_settings(settings),
        launcher=None,
        children=SeatbeltProcesses(argv, view, environment=environment, network=network),
        pool_name=pool.name,
        tools=pool.tools,
        project_dir=view.project_dir,
        environment=pool.environment,
        secrets=pool.secrets,
        workspaces=pool.workspaces,
        detail={"namespaces": [], "cgroup": "none", "network": settings.network, "gaps": [*GAPS]},
        gaps=GAPS,
    )


def _climbed(pool: Pool) -> Sandbox:
    """The best wall that this machine holds, no less than the pool's level; raises with what was said at each rung.

    If only less can be had, the refusal says so: it was tried as well.
    """
    least = _RANKS.index(SandboxLevel(pool.settings.least_level))
    said: dict[str, list[str]] = {}
    for level, attempt in _rungs(pool):
        enough = _RANKS.index(level) <= least
        try:
            sandbox = attempt()
        except SandboxUnavailableError as error:
            if enough:
                said.setdefault(str(error), []).append(level)
            continue
        if enough:
            return sandbox
        with contextlib.closing(sandbox):
            said[_less(sandbox)] = []
        break
    words = (
        f"Level {', '.join(dict.fromkeys(levels))}: {words}" if levels else words for words, levels in said.items()
    )
    raise SandboxUnavailableError(" ".join(words))


def _rungs(pool: Pool) -> list[tuple[SandboxLevel, Callable[[], Sandbox]]]:
    """From the best to the least; the second shared one is for machines that mask /proc."""
    if sys.platform == "darwin":
        return [(SandboxLevel.SEATBELT, partial(_behind_a_profile, pool))]
    return [
        (SandboxLevel.NS, partial(open_wall, pool, SandboxLevel.NS)),
        (SandboxLevel.SHARED, partial(open_wall, pool, SandboxLevel.SHARED)),
        (SandboxLevel.SHARED, partial(open_wall, pool, SandboxLevel.SHARED, proc=False)),
        (SandboxLevel.LANDLOCK, partial(open_wall, pool, SandboxLevel.LANDLOCK)),
    ]


def _less(sandbox: Sandbox) -> str:
    return (
        f'Level {sandbox.level} can be had here: set level = "{sandbox.level}" if what it leaves open is no matter for '
        f"the tools of this pool ({'; '.join(sandbox.gaps)})."
    )
