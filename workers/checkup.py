"""Examines a project from end to end: its code, its Redis, its workers and runs, its sandboxes. Mends nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from agent_core.errors import ErrandryError
from queues.acl import OPERATOR
from queues.checkup import Finding, ok, problem, seen, unseen, warning
from queues.connections import connect
from queues.consumers import agent_findings, ask_consumers, consumer_findings, executor_findings
from queues.errors import StoreRefusedError, StoreUnreachableError
from queues.redis_url import resolved
from queues.run_checkup import RunCheckup
from queues.server_checkup import server_findings
from queues.settings import PoolSettings, SandboxSettings, Settings
from queues.timing import Timing
from workers.agents import Project, load_project
from workers.release import release_findings
from workers.sandbox.base import SandboxLevel, SandboxUnavailableError
from workers.sandbox.opening import open_sandbox

_SOCKET_SECONDS = 3.0


@dataclass(frozen=True)
class Scope:
    """What is examined: at most so many of the newest runs, and on wish less or more than the usual."""

    limit: int = 500
    sandboxes: bool = True
    release: bool = False


def examine(settings: Settings, scope: Scope) -> Iterator[Finding]:
    """Everything that was found, as it is found. What cannot be looked at is a finding, never an exception."""
    project, findings = _load(settings)
    yield from findings
    yield from _examine_store(settings, project, scope)
    if scope.sandboxes:
        for name, pool in settings.pools.items():
            if name not in settings.http_pools:
                yield from _examine_sandbox(settings, name, pool)


def _load(settings: Settings) -> tuple[Project | None, list[Finding]]:
    if not settings.agents:
        remedy = 'add agents = ["package.module:agent"] to errandry.toml, unless others carry the runs on'
        return None, [warning("project.agents", "no agent is listed", remedy)]
    try:
        # What modules print while they are imported must not get between the lines of --json.
        with contextlib.redirect_stdout(sys.stderr):
            project = load_project(settings)
    except ErrandryError as error:
        return None, [problem("project.agents", f"no agent worker can start with this project: {error}", "")]
    return project, [ok("project.agents", f"{', '.join(sorted(project.agents))} can be loaded")]


def _examine_store(settings: Settings, project: Project | None, scope: Scope) -> Iterator[Finding]:
    try:
        settings = resolved(settings, OPERATOR)
    except ErrandryError as error:
        yield problem("redis.reachable", str(error), "")
        return
    assert settings.redis_url is not None
    connection = connect(
        settings.redis_url.get_secret_value(),
        client_name="errandry-doctor",
        socket_timeout_seconds=_SOCKET_SECONDS,
        connect_timeout_seconds=_SOCKET_SECONDS,
    )
    with contextlib.closing(connection):
        server = server_findings(connection, durability=settings.durability)
        yield from server
        if len(server) == 1:
            return  # it does not answer
        checkup = RunCheckup(
            connection,
            timing=Timing.of_lease(settings.lease_seconds),
            pools=list(settings.pools),
            limit=scope.limit,
        )
        yield from _examine_workers(connection, settings, project)
        yield from seen(connection, "runs", checkup.findings)
        if scope.release and project is not None:
            yield from seen(
                connection,
                "release",
                lambda: release_findings(
                    connection, checkup.unfinished(), project, pools=settings.pools, unseen=checkup.unseen()
                ),
            )


def _examine_workers(connection: redis.Redis, settings: Settings, project: Project | None) -> Iterator[Finding]:
    if project is not None:
        yield from seen(connection, "agents.announced", lambda: agent_findings(connection, list(project.agents)))
    yield from seen(connection, "executors", lambda: executor_findings(connection, settings.http_pools))
    try:
        consumers = ask_consumers(settings)
    except StoreRefusedError as error:
        yield unseen("workers", str(error))
    except StoreUnreachableError as error:
        yield problem("workers", str(error), "see to it that Redis stays up, and look again")
    else:
        worked = [pool for pool in settings.pools if pool not in settings.http_pools]
        yield from seen(connection, "workers", lambda: consumer_findings(connection, worked, consumers))


def _examine_sandbox(settings: Settings, name: str, pool: PoolSettings) -> Iterator[Finding]:
    """Whether the pool's wall can be had on this machine. Secrets are the worker's, not those of whoever asks here."""
    subject, sandbox = f"sandbox.{name}", pool.sandbox.model_copy(update={"secrets": {}, "workspace_mb": 0})
    try:
        wall = open_sandbox(sandbox, tools=pool.tools, project_dir=settings.project_dir)
    except SandboxUnavailableError as error:
        yield problem(subject, f"no worker of pool {name} can start on this machine: {error}", "")
        return
    level, gaps = wall.level, wall.gaps
    wall.close()
    if level is SandboxLevel.NONE:
        yield warning(
            subject,
            f"pool {name} has no wall: its tools may do whatever its workers may",
            'set level = "strict", unless you trust each tool and whatever the model asks of it',
        )
    elif level is not SandboxLevel.NS:
        text = f"pool {name} gets level {level} on this machine, which leaves something open"
        yield warning(subject, text, _missed(settings, sandbox, pool, level), gaps)
    else:
        yield ok(subject, f"the wall of pool {name} can be had on this machine")


def _missed(settings: Settings, sandbox: SandboxSettings, pool: PoolSettings, level: SandboxLevel) -> str:
    """Why the best level cannot be had here, with the way to have it, in the words of the machine."""
    strict = sandbox.model_copy(update={"level": "strict"})
    try:
        open_sandbox(strict, tools=pool.tools, project_dir=settings.project_dir).close()
    except SandboxUnavailableError as error:
        return str(error).partition(f" Level {level} can be had here")[0]
    return "look again: the best level can be had by now"
