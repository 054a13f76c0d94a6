"""The tool worker of one pool: a Celery worker whose threads supervise sandboxed processes; runs no tool itself.

ERRANDRY_WORKER_POOL=shell celery -A workers.tool_worker worker    # what `errandry tool-worker` does
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from functools import partial

from celery import Celery

from agent_core.errors import ErrandryError
from agent_core.telemetry import emit
from queues.acl import pool_user
from queues.announcements import Announcement, Announcements
from queues.call_output import OutputTeller
from queues.calls import Calls
from queues.celery_app import tool_app
from queues.connections import check, connect
from queues.count_telling import CountTeller
from queues.errors import SettingsError, UnknownPoolError
from queues.known_runs import known_runs
from queues.leases import LeaseKeeper
from queues.redis_url import resolved
from queues.settings import PoolSettings, Settings, load_settings
from queues.timing import Timing
from queues.user_checkup import TOOL_WORKER
from workers.beating import Beating
from workers.beats import TOOL_BEATS
from workers.celery_worker import attach, identity
from workers.draining import Drain
from workers.execution import Executor
from workers.exporters.counts import Counts
from workers.exporters.tracing import open_traces
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.opening import open_sandbox
from workers.sandbox.workspace import store_for
from workers.tool_tasks import register
from workers.workspace_sweep import WorkspaceSweep

# Who asks for the pools hears of a dead tool worker for this much longer than of its last heartbeat.
_ANNOUNCED_BEATS = 6


def build(settings: Settings, pool: str, *, concurrency: int | None = None) -> Celery:
    """The app of a tool worker of `pool`, with a task for each of its tools.

    `concurrency` is announced only, if it is not the pool's; Celery's own arguments make it so.

    Raises before anything is consumed: UnknownPoolError, SandboxUnavailableError if the wall that the pool asks for
    cannot be had here, and the errors of the tools' modules and of Redis.
    """
    described, worker, counts = pool_named(settings, pool), identity(pool), Counts()
    counts.listen()
    try:
        sandbox = open_sandbox(
            described.sandbox, tools=described.tools, project_dir=settings.project_dir, pool_name=pool
        )
        tools = [tool.name for tool in sandbox.describe()]
    except SandboxUnavailableError:
        emit("sandbox.refused", pool=pool, reason="start")
        _tell_of_refusal(settings, pool, worker, counts)
        raise
    settings = resolved(settings, pool_user(pool))
    assert settings.redis_url is not None
    connection = connect(settings.redis_url.get_secret_value(), client_name=f"{TOOL_WORKER}{pool}")
    check(connection)
    timing = Timing.of_lease(settings.lease_seconds)
    counted = CountTeller(connection, pool=pool, process=worker, take=counts.take)
    traces = open_traces("errandry-tool-worker", instance=worker)
    app = tool_app(settings, pool)
    leases = LeaseKeeper(connection, heartbeat_seconds=timing.heartbeat_seconds)
    calls = Calls(connection, timing=timing, worker=worker)
    teller = OutputTeller(calls) if described.live_output else None
    executor = Executor(
        calls=calls,
        leases=leases,
        sandbox=sandbox,
        worker=worker,
        teller=teller,
        asks_people=described.approval,
        shows_details=described.flower_details,
        traces=traces,
    )
    register(app, executor, pool=pool, tools=tools)

    known = Announcements(connection, pool, valid_seconds=_ANNOUNCED_BEATS * timing.heartbeat_seconds)
    # Without what makes it unique among all that ever were: for people "shell@host:4711" is enough.
    announcement = Announcement(
        worker=worker.rpartition(":")[0],
        level=sandbox.level,
        concurrency=concurrency or described.concurrency,
        gaps=sandbox.gaps,
    )

    announce = partial(known.announce, announcement)
    beating = Beating.of(settings, app, kind=TOOL_BEATS)

    def set_up(stack: ExitStack) -> None:
        stack.callback(traces.close)
        stack.callback(counted.tell)
        stack.callback(sandbox.close)
        announce()
        stack.callback(known.withdraw, announcement.worker)
        leases.at_each_beat(announce)
        leases.at_each_beat(counted.tell)
        stack.callback(leases.close)
        if beating is not None:
            stack.callback(beating.close)
            beating.start(leases)
        if teller is not None:
            stack.callback(teller.close)
        store = store_for(described.sandbox, pool=pool, project_dir=settings.project_dir)
        if store is not None:
            sweep = WorkspaceSweep(store, partial(known_runs, connection, pool))
            stack.callback(sweep.close)
            sweep.start()

    attach(app, set_up, drain=Drain(leases, bound_seconds=settings.drain_seconds))
    return app


def _tell_of_refusal(settings: Settings, pool: str, worker: str, counts: Counts) -> None:
    """Have a refused start counted, if Redis can be reached; nobody waits long for it."""
    with suppress(ErrandryError):
        address = resolved(settings, pool_user(pool)).redis_url
        assert address is not None
        with connect(address.get_secret_value(), socket_timeout_seconds=1, connect_timeout_seconds=1) as connection:
            CountTeller(connection, pool=pool, process=worker, take=counts.take).tell()


def pool_named(settings: Settings, pool: str) -> PoolSettings:
    """The settings of a pool that has tool workers, else a SettingsError; UnknownPoolError if there is no such pool."""
    if pool not in settings.pools:
        raise UnknownPoolError(
            f"there is no pool {pool!r}; errandry.toml has {', '.join(sorted(settings.pools)) or 'no pools'}"
        )
    if pool in settings.http_pools:
        raise SettingsError(
            f'pool {pool} has served_by = "http": executors fetch its calls from the gateway (`errandry gateway`), and '
            "it has no tool workers; take served_by out to change that"
        )
    return settings.pools[pool]


def __getattr__(name: str) -> Celery:
    """Build the app when Celery's own command asks for it; importing this module reads nothing."""
    if name in ("app", "celery"):
        pool = os.environ.get("ERRANDRY_WORKER_POOL")
        if not pool:
            raise SettingsError("ERRANDRY_WORKER_POOL is not set; name the pool whose calls this worker executes")
        return build(load_settings(), pool)
    raise AttributeError(name)
