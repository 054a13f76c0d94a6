"""The tool worker of one pool: a Celery worker whose threads supervise sandboxed processes; runs no tool itself.

ERRANDRY_WORKER_POOL=shell celery -A workers.tool_worker worker# what `errandry tool-worker` does
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from celery import Celery

from queues.calls import Calls
from queues.celery_app import tool_app
from queues.connections import check, connect
from queues.errors import SettingsError, UnknownPoolError
from queues.leases import LeaseKeeper
from queues.redis_url import resolved
from queues.settings import PoolSettings, Settings, load_settings
from queues.timing import Timing
from workers.celery_worker import attach, identity
from workers.execution import Executor
from workers.sandbox.opening import open_sandbox
from workers.tool_tasks import register


def build(settings: Settings, pool: str) -> Celery:
    """The app of a tool worker of `pool`, with a task for each of its tools.

    Raises before anything is consumed: UnknownPoolError, SandboxUnavailableError if the wall that the pool asks for
    cannot be had here, and the errors of the tools' modules and of Redis.
    """
    described = pool_named(settings, pool)
    sandbox = open_sandbox(described.sandbox, tools=described.tools, project_dir=settings.project_dir)
    tools = [tool.name for tool in sandbox.describe()]
    settings = resolved(settings)
    assert settings.redis_url is not None
    connection = connect(settings.redis_url.get_secret_value(), client_name=f"errandry-tool-worker-{pool}")
    check(connection)
    timing = Timing(lease_seconds=settings.lease_seconds)
    worker = identity(pool)
    app = tool_app(settings, pool)
    executor = Executor(
        calls=Calls(connection, timing=timing, worker=worker),
        leases=LeaseKeeper(heartbeat_seconds=timing.heartbeat_seconds),
        sandbox=sandbox,
        worker=worker,
    )
    register(app, executor, pool=pool, tools=tools)

    def set_up(stack: ExitStack) -> None:
        stack.callback(sandbox.close)

    attach(app, set_up)
    return app


def pool_named(settings: Settings, pool: str) -> PoolSettings:
    """The pool's settings, or an UnknownPoolError that lists those there are."""
    if pool not in settings.pools:
        raise UnknownPoolError(
            f"there is no pool {pool!r}; errandry.toml has {', '.join(sorted(settings.pools)) or 'no pools'}"
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
