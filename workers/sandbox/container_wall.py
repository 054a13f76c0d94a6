"""The wall that a container engine makes, for a pool that asks for `backend = "container"`, tried out like any other.

It never falls back to another backend, and it counts as level ns only because the self-test found it so.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial

from pydantic import JsonValue

from queues.settings import SandboxSettings
from workers.sandbox.base import Limits, Sandbox, SandboxLevel, SandboxUnavailableError
from workers.sandbox.calls import ProcessSandbox
from workers.sandbox.confinement import Plan
from workers.sandbox.container import Containers
from workers.sandbox.engines import Engine, container_words, find_engine, refuse_what_no_container_does
from workers.sandbox.launching import Identity
from workers.sandbox.levels import Level, expected_of_ns
from workers.sandbox.probe import probe
from workers.sandbox.syscalls import FilterError, filter_program, policy_name
from workers.sandbox.visible import view_of
from workers.sandbox.walls import Pool

# What each engine cannot do.
_GAPS = {"podman": ("files in scratch are limited by their size only, not by their number",), "docker": ()}
# What an engine leaves open: its default filter lets namespaces be made, and its limits for one process are coarser.
_STEPS = ("own_descriptors", "resources", "no_new_privileges", "filtered")


def open_container(pool: Pool) -> Sandbox:
    """A sandbox whose calls each get a container of their own; raises `SandboxUnavailableError` with the remedy."""
    settings, limits = pool.settings, Limits.from_settings(pool.settings)
    refuse_what_no_container_does(settings)
    engine = find_engine()
    network = settings.network == "host"
    view = view_of(pool.project_dir, mounts=settings.mounts, python_path=settings.python_path, network=network)
    user = _user(engine, settings.uid)
    seccomp = _filters(settings)
    plan = Plan(
        steps=_STEPS,
        limits=asdict(limits),
        project_dir=str(view.project_dir),
        counted_processes=False,
        seccomp=seccomp,
    )
    words = partial(container_words, engine, settings=settings, view=view, plan=plan, user=user)
    containers = Containers(engine, words, spares=settings.spares)
    level = Level(
        name=SandboxLevel.NS,
        outer=list,
        plan=plan,
        expected=expected_of_ns(network=network, proc="fresh", init=settings.init),
    )
    try:
        containers.open()
        probe(containers.take, level)
    except SandboxUnavailableError as error:
        containers.close()
        raise SandboxUnavailableError(f"{error} (backend container, {engine.name}, image {settings.image})") from error
    except BaseException:
        containers.close()
        raise
    return ProcessSandbox(
        level=SandboxLevel.NS,
        limits=limits,
        launcher=None,
        children=containers,
        pool_name=pool.name,
        tools=pool.tools,
        project_dir=view.project_dir,
        environment=pool.environment,
        secrets=pool.secrets,
        workspaces=pool.workspaces,
        gaps=_GAPS[engine.name],
        detail=_detail(engine, settings, policy_name(settings.seccomp, seccomp)),
    )


def _user(engine: Engine, uid: int | None) -> tuple[int, int] | None:
    """Who a tool is on this machine: never its root, unless the engine runs without root and maps its users anyway."""
    if engine.name == "podman" and os.geteuid() != 0:
        return None
    chosen = Identity.of_this_process() if uid is None else Identity(uid, uid)
    return (chosen.uid or os.geteuid(), chosen.gid or os.getegid())


def _filters(settings: SandboxSettings) -> bytes:
    try:
        # The engine's control group counts what belongs to no process.
        return filter_program(settings.seccomp, counted_memory=True, network=settings.network != "none")
    except FilterError as error:
        raise SandboxUnavailableError(str(error)) from error


def _detail(engine: Engine, settings: SandboxSettings, policy: str) -> dict[str, JsonValue]:
    return {
        "backend": "container",
        "engine": engine.name,
        "image": settings.image,
        "runtime": settings.runtime,
        "network": settings.network,
        "cgroup": "engine",
        "seccomp": policy,
        "gaps": [*_GAPS[engine.name]],
    }
