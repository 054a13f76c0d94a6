"""Puts up the wall of one level for a pool, with all that belongs to it, and tries it out before it is handed over.

It never chooses a level, and never puts up less than it was asked for; `opening` chooses.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from queues.settings import SandboxSettings
from workers.sandbox.base import Limits, Sandbox, SandboxLevel, SandboxUnavailableError
from workers.sandbox.bubblewrap import base_environment, carried, find_bubblewrap, outer_wall, stage_for
from workers.sandbox.calls import ProcessSandbox
from workers.sandbox.cgroups import CallGroups, open_groups
from workers.sandbox.children import Child
from workers.sandbox.confinement import Plan
from workers.sandbox.egress.proxy import EgressProxy, policy_of
from workers.sandbox.generation import Chore, Recipe
from workers.sandbox.launching import Identity, Launcher
from workers.sandbox.levels import Level, expected_of_ns, ns_steps
from workers.sandbox.lower_levels import behind_namespaces, landlock_level, landlock_of, shared_level
from workers.sandbox.slots import Slots
from workers.sandbox.starting import Starter
from workers.sandbox.syscalls import FilterError, filter_program, policy_name
from workers.sandbox.visible import View, view_of
from workers.sandbox.workspace import WorkspaceStore
from workers.sandbox.zygotes import Zygotes


@dataclass(frozen=True)
class Pool:
    """What a pool's tools are, and what is theirs; `secrets` are asked for at each call."""

    settings: SandboxSettings
    tools: tuple[str, ...]
    project_dir: Path
    environment: Mapping[str, str]
    secrets: Callable[[], Mapping[str, str]]
    workspaces: WorkspaceStore | None = None
    name: str = ""


@dataclass(frozen=True)
class _Site:
    """Where a wall is put up: what is to be seen, who starts it, what counts its calls."""

    settings: SandboxSettings
    limits: Limits
    view: View
    launcher: Launcher
    groups: CallGroups | None
    program: Path | None

    def filters(self, level: SandboxLevel) -> bytes:
        settings, counted = self.settings, self.groups is not None
        network = settings.network != "none"
        try:
            return filter_program(settings.seccomp, level=level, counted_memory=counted, network=network)
        except FilterError as error:
            raise SandboxUnavailableError(str(error)) from error

    def outer(self, command: Sequence[str], *, capable: bool, proc: bool) -> list[str]:
        assert self.program is not None
        words = outer_wall(
            self.view,
            self.limits,
            self.launcher,
            program=self.program,
            network=self.settings.network == "host",
            environment=base_environment(),
            capable=capable,
            proc=proc,
        )
        return [*words, *command]


def open_wall(pool: Pool, name: SandboxLevel, *, proc: bool = True) -> Sandbox:
    """The wall of this level, tried out; raises `SandboxUnavailableError`, after which nothing of it is left.

    Without `proc` none is mounted, for machines that refuse it; only level shared does without.
    """
    with contextlib.ExitStack() as undo:
        site = _site(pool, name, undo)
        level = _level(site, name, proc=proc)
        settings, starter = site.settings, _starter(pool, site, level)
        zygotes = _zygotes(starter, site.settings, level)
        undo.callback(zygotes.close)
        proxy = EgressProxy(policy_of(settings)) if settings.network == "allowlist" else None
        if proxy is not None:
            undo.callback(proxy.close)
            proxy.start()
        site.launcher.start()
        zygotes.open()
        undo.pop_all()
    return ProcessSandbox(
        level=level.name,
        limits=site.limits,
        launcher=site.launcher,
        children=zygotes,
        pool_name=pool.name,
        tools=pool.tools,
        project_dir=site.view.project_dir,
        environment=pool.environment,
        secrets=pool.secrets,
        groups=site.groups,
        proxy=proxy,
        workspaces=pool.workspaces,
        detail=level.detail,
        gaps=level.gaps,
        described=starter.tell,
    )


def _site(pool: Pool, name: SandboxLevel, undo: contextlib.ExitStack) -> _Site:
    settings, network = pool.settings, pool.settings.network == "host"
    view = view_of(pool.project_dir, mounts=settings.mounts, python_path=settings.python_path, network=network)
    program = find_bubblewrap() if name is not SandboxLevel.LANDLOCK else None
    identity = _identity(settings)
    staged = stage_for(view, program) if program is not None and identity.uid is not None else ()
    groups = open_groups()
    if groups is not None:
        undo.callback(groups.close)
    launcher = Launcher(identity=identity, stage=staged)
    undo.callback(launcher.close)
    return _Site(settings, Limits.from_settings(settings), view, launcher, groups, program)


def _level(site: _Site, name: SandboxLevel, *, proc: bool) -> Level:
    settings, seccomp = site.settings, site.filters(name)
    match name:
        case SandboxLevel.NS:
            level = _ns(site, seccomp)
        case SandboxLevel.SHARED:
            proc = proc and settings.proc == "fresh"
            outer = partial(site.outer, capable=False, proc=proc)
            level = shared_level(settings, site.view, outer, seccomp=seccomp, proc=proc)
        case SandboxLevel.LANDLOCK:
            environment = {"PATH": base_environment()["PATH"]}
            scratch = tempfile.gettempdir()
            level = landlock_level(settings, site.view, seccomp=seccomp, environment=environment, scratch=scratch)
        case _:
            raise SandboxUnavailableError(f"There is no wall of level {name} on this machine.")
    detail: dict[str, JsonValue] = {
        **level.detail,
        "seccomp": policy_name(settings.seccomp, seccomp),
        "cgroup": site.groups.kind if site.groups is not None else "watch",
        "network": settings.network,
        "gaps": [*level.gaps],
    }
    return replace(level, detail=detail)


def _ns(site: _Site, seccomp: bytes) -> Level:
    settings, network = site.settings, site.settings.network == "host"
    allowlist, offered = settings.network == "allowlist", landlock_of(settings)
    plan = Plan(
        steps=ns_steps(proc=settings.proc, way_out=allowlist, landlock=offered > 0),
        limits=asdict(site.limits),
        project_dir=str(site.view.project_dir),
        network=settings.network,
        carried=carried(site.view),
        noexec=settings.noexec,
        init=settings.init,
        seccomp=seccomp,
        handed=("listener",) if allowlist else (),
        read=("/",),
        write=behind_namespaces(site.view),
    )
    return Level(
        name=SandboxLevel.NS,
        outer=partial(site.outer, capable=True, proc=True),
        plan=plan,
        expected=expected_of_ns(network=network, proc=settings.proc, init=settings.init),
        detail={
            "namespaces": ["user", "pid", "mount", "ipc", "uts", "cgroup", *([] if network else ["network"])],
            "landlock_abi": offered,
        },
    )


def _starter(pool: Pool, site: _Site, level: Level) -> Starter:
    recipe = Recipe(
        launcher=site.launcher,
        level=level,
        tools=pool.tools,
        python_path=site.view.python_path,
        environment=pool.environment,
        ready=_limiting(site.groups, site.limits, level.plan.aftermath),
    )
    return Starter(recipe, site.view)


def _zygotes(starter: Starter, settings: SandboxSettings, level: Level) -> Zygotes | Slots:
    if level.name is SandboxLevel.SHARED:
        return Slots(starter.start, recycle_after=settings.recycle_after, stale=starter.is_stale)
    return Zygotes(starter.start, spares=settings.spares, recycle_after=settings.recycle_after, stale=starter.is_stale)


def _identity(settings: SandboxSettings) -> Identity:
    if settings.uid is None:
        return Identity.of_this_process()
    if os.geteuid() != 0:
        raise SandboxUnavailableError(
            f"uid = {settings.uid} asks for another user, which only a worker of root can become. Start the worker as "
            "that user instead, and take uid out of the pool's sandbox settings."
        )
    return Identity.of_this_process(settings.uid, settings.uid)


def _limiting(
    groups: CallGroups | None, limits: Limits, kin: str
) -> Callable[[Child, Callable[[Chore], object]], None]:
    """Puts each child into a control group of its own before it is asked anything, and lets go of it at its end."""

    def limit(child: Child, later: Callable[[Chore], object]) -> None:
        child.kin = kin
        if groups is None or child.pid is None:
            return
        group, over = groups.create(limits), child.over

        def let_go(unknown: bool) -> None:
            later(partial(groups.remove, group))
            over(unknown)

        child.group, child.over = group, let_go
        group.add(child.pid)

    return limit
