"""The command that shows the project's pools: their workers, the level of each one's sandbox, what waits for them.

Never tries a sandbox itself; that is the doctor's.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from workers.commands.opening import project_settings
from workers.commands.pages import add
from workers.commands.runs import Json

if TYPE_CHECKING:
    from queues.announcements import Announcement
    from queues.settings import PoolSettings


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    add(app, pools, "errandry pools", "errandry pools --json")


def pools(as_json: Json = False) -> None:
    """List the pools of the project: their tools and workers, the level of sandbox required and found, what waits.

    A worker tells its level itself when it starts, and with each heartbeat that it is still there. What a level leaves
    open on its machine is named below it.

    With --json: a list of objects, one for each pool.
    """
    settings = project_settings()
    # Celery's own modules come along with the queues.
    from queues.acl import OPERATOR  # noqa: PLC0415
    from queues.announcements import announced, waiting  # noqa: PLC0415
    from queues.connections import connect, translated_errors  # noqa: PLC0415
    from queues.redis_url import url_of  # noqa: PLC0415
    from queues.topology import pool_queues  # noqa: PLC0415

    connection = connect(url_of(settings, OPERATOR), client_name="errandry-pools")
    with connection, translated_errors(connection):
        found = [
            described(name, pool, announced(connection, name), waiting(connection, pool_queues(name)))
            for name, pool in settings.pools.items()
        ]
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_pools(found)


def described(name: str, pool: PoolSettings, workers: list[Announcement], waits: dict[str, int]) -> dict[str, object]:
    """The pool as JSON-able values."""
    return {
        "pool": name,
        "tools": list(pool.tools),
        "level_required": pool.sandbox.least_level,
        "network": pool.sandbox.network,
        "waiting": waits,
        "concurrency": sum(worker.concurrency for worker in workers),
        "workers": [{**asdict(worker), "gaps": list(worker.gaps)} for worker in workers],
    }


def print_pools(found: list[dict[str, object]]) -> None:
    """The same for people: a line for each pool, and one for each of its workers below it."""
    # Redis and Rich take longer to import than the help may take to show.
    from queues.checkup import counted  # noqa: PLC0415
    from workers.terminal import say  # noqa: PLC0415

    for pool in found:
        workers, waits, concurrency = pool["workers"], pool["waiting"], pool["concurrency"]
        assert isinstance(workers, list) and isinstance(waits, dict) and isinstance(concurrency, int)
        at_once = f"{counted(len(workers), 'worker')}, {counted(concurrency, 'call')} at once"
        words = f"{pool['pool']}  {at_once}; {sum(waits.values())} waiting; level {pool['level_required']} or better"
        say(words, style="default" if workers else "yellow")
        for worker in workers:
            say(f"    {worker['worker']}  level {worker['level']}, {worker['concurrency']} at once")
            for gap in worker["gaps"]:
                say(f"        - {gap}", style="yellow")
        if not workers:
            say(f"    errandry tool-worker --pool {pool['pool']}      (nobody serves it)", style="yellow")
    if not found:
        say("errandry.toml has no pools")
