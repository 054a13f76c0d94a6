"""The way in: settings of a pool to a wall that has been tried out.

It never falls back: what the settings ask for is there and proven, or the pool is refused with the reason.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from queues.settings import SandboxSettings
from workers.sandbox.base import Limits, Sandbox, SandboxLevel, SandboxUnavailableError
from workers.sandbox.bootstrap import interpreter
from workers.sandbox.bubblewrap import base_environment, find_bubblewrap, stage_for, wall
from workers.sandbox.calls import ProcessSandbox
from workers.sandbox.launching import Identity, Launcher
from workers.sandbox.plain import identity_for
from workers.sandbox.probe import probe
from workers.sandbox.syscalls import filter_program
from workers.sandbox.visible import view_of


def open_sandbox(
    settings: SandboxSettings,
    *,
    tools: Sequence[str],
    project_dir: Path,
    environment: Mapping[str, str] | None = None,
) -> Sandbox:
    """A sandbox for the pool's tools (import strings), tried out before it is returned; close it when the pool ends.

    `environment` is where the pool's variables and secrets are looked up, by default this process's own. Raises
    `SandboxUnavailableError` with the probe's words and the remedy; it never returns a weaker wall than was asked for.
    """
    variables = os.environ if environment is None else environment
    passed = {name: variables[name] for name in settings.env if name in variables}
    secrets = _secrets(settings, variables)
    if settings.level == "none" and settings.backend != "bubblewrap":
        return _plain(settings, tools=tools, project_dir=project_dir, environment=passed, secrets=secrets)
    if settings.backend == "none":
        raise SandboxUnavailableError(
            f'backend = "none" means no sandbox, but this pool asks for level = "{settings.level}". Set backend = '
            '"auto", or spell out level = "none" if the tools of this pool may do whatever the worker may.'
        )
    return _walled(settings, tools=tools, project_dir=project_dir, environment=passed, secrets=secrets)


def _secrets(settings: SandboxSettings, variables: Mapping[str, str]) -> dict[str, str]:
    missing = [name for name in settings.secrets if not variables.get(name)]
    if missing:
        raise SandboxUnavailableError(
            f"The pool lists the secret {missing[0]}, but the worker's environment does not hold it. "
            f"Set {missing[0]} where the worker is started, or take it out of the pool's secrets."
        )
    return {name: variables[name] for name in settings.secrets}


def _plain(
    settings: SandboxSettings,
    *,
    tools: Sequence[str],
    project_dir: Path,
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
) -> Sandbox:
    project = project_dir.resolve()
    python_path = [entry for entry in sys.path if entry]
    needed = [Path(sys.executable), project, *(Path(entry) for entry in python_path if Path(entry).exists())]
    argv = interpreter(python_path, chdir=str(project))
    launcher = Launcher(identity=identity_for(needed))
    launcher.start()
    return ProcessSandbox(
        level=SandboxLevel.NONE,
        limits=Limits.from_settings(settings),
        launcher=launcher,
        command_line=lambda: (argv, base_environment()),
        tools=tools,
        project_dir=project,
        environment=environment,
        secrets=secrets,
    )


def _walled(
    settings: SandboxSettings,
    *,
    tools: Sequence[str],
    project_dir: Path,
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
) -> Sandbox:
    program = find_bubblewrap()
    filters = filter_program()
    network = settings.network == "host"
    limits = Limits.from_settings(settings)
    view = view_of(project_dir, read_only=settings.read_only, network=network)
    identity = Identity.of_this_process()
    launcher = Launcher(identity=identity, stage=stage_for(view, program) if identity.uid is not None else ())

    def walled(command: Sequence[str]) -> list[str]:
        words = wall(view, limits, launcher, program=program, network=network, environment=base_environment())
        return [*words, *command]

    try:
        launcher.start()
        probe(launcher, walled, project_dir=view.project_dir, network=network, filters=filters)
    except BaseException:
        launcher.close()
        raise
    return ProcessSandbox(
        level=SandboxLevel.NS,
        limits=limits,
        launcher=launcher,
        command_line=lambda: (walled(interpreter(view.python_path)), {}),
        tools=tools,
        project_dir=view.project_dir,
        environment=environment,
        secrets=secrets,
        filters=filters,
    )
