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
    from queues.offers import OfferedPool
    from queues.settings import PoolSettings


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    add(app, pools, "errandry pools", "errandry pools --json")


def pools(as_json: Json = False) -> None:
    """List the pools of the project: their tools and workers, the level of sandbox required and found, what waits.

    A worker tells its level itself when it starts, and with each heartbeat that it is still there. What a level leaves
    open on its machine is named below it. Of a pool that is served over HTTP the executors are named that asked for
    its calls, or held one, within the last minute and a half.

    Without an errandry.toml, but with ERRANDRY_REDIS_URL, the pools are listed that agent workers have told of.

    With --json: a list of objects, one for each pool; what is not known is null.
    """
    settings = project_settings()
    # Celery's own modules come along with the queues.
    from queues.acl import OPERATOR  # noqa: PLC0415
    from queues.announcements import announced, waiting  # noqa: PLC0415
    from queues.connections import connect, translated_errors  # noqa: PLC0415
    from queues.offers import Offers  # noqa: PLC0415
    from queues.redis_url import url_of  # noqa: PLC0415
    from queues.topology import pool_queues  # noqa: PLC0415

    connection = connect(url_of(settings, OPERATOR), client_name="errandry-pools")
    with connection, translated_errors(connection):
        found = [
            described(name, pool, announced(connection, name), waiting(connection, pool_queues(name)))
            for name, pool in settings.pools.items()
        ]
        is_told = settings.config_file is None and not found
        if is_told:
            found = [offered(pool) for pool in Offers(connection).pools()]
    if as_json:
        typer.echo(json.dumps(found))
    elif is_told and not found:
        typer.echo("no agent worker has told of any pool")
    else:
        print_pools(found)


def described(name: str, pool: PoolSettings, workers: list[Announcement], waits: dict[str, int]) -> dict[str, object]:
    """The pool as JSON-able values. Of a pool that is served over HTTP nobody here knows any wall."""
    has_wall = pool.served_by == "worker"
    return {
        "pool": name,
        "served_by": pool.served_by,
        "tools": list(pool.tools),
        "level_required": pool.sandbox.least_level if has_wall else None,
        "network": pool.sandbox.network if has_wall else None,
        "waiting": waits,
        "concurrency": sum(worker.concurrency for worker in workers),
        "workers": [{**asdict(worker), "gaps": list(worker.gaps)} for worker in workers],
    }


def offered(pool: OfferedPool) -> dict[str, object]:
    """The same of a pool of which only is known what agent workers told of it."""
    return {
        "pool": pool.name,
        "served_by": None,
        "tools": list(pool.tools),
        "level_required": None,
        "network": None,
        "waiting": dict(pool.waiting),
        "concurrency": pool.concurrency,
        "workers": [{**asdict(worker), "gaps": list(worker.gaps)} for worker in pool.workers],
    }


def print_pools(found: list[dict[str, object]]) -> None:
    """The same for people: a line for each pool, and one for each of its workers below it."""
    # Redis and Rich take longer to import than the help may take to show.
    from queues.checkup import counted  # noqa: PLC0415
    from workers.terminal import say  # noqa: PLC0415

    for pool in found:
        workers, waits, concurrency = pool["workers"], pool["waiting"], pool["concurrency"]
        assert isinstance(workers, list) and isinstance(waits, dict) and isinstance(concurrency, int)
        if pool["served_by"] == "http":
            _print_executors(pool, [worker["worker"] for worker in workers], waiting=sum(waits.values()))
            continue
        at_once = f"{counted(len(workers), 'worker')}, {counted(concurrency, 'call')} at once"
        words = f"{pool['pool']}  {at_once}; {sum(waits.values())} waiting"
        if pool["level_required"] is not None:
            words += f"; level {pool['level_required']} or better"
        say(words, style="default" if workers else "yellow")
        for worker in workers:
            say(f"    {worker['worker']}  level {worker['level']}, {worker['concurrency']} at once")
            for gap in worker["gaps"]:
                say(f"        - {gap}", style="yellow")
        if not workers:
            say(f"    errandry tool-worker --pool {pool['pool']}      (nobody serves it)", style="yellow")
    if not found:
        say("errandry.toml has no pools")


def _print_executors(pool: dict[str, object], names: list[str], *, waiting: int) -> None:
    from queues.checkup import counted  # noqa: PLC0415 - see above
    from workers.terminal import say  # noqa: PLC0415

    words = f"{pool['pool']}  {counted(len(names), 'executor')} over HTTP lately; {waiting} waiting"
    say(words, style="default" if names else "yellow")
    for name in names:
        say(f"    {name}")
    if not names:
        say("    deploy/http-executors.md      (no executor asks for its calls)", style="yellow")
