"""What the commands agent-worker, tool-worker and flower do once they are asked for; imports all of Celery.

Never decides about settings: they come ready.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from queues.acl import FLOWER
from queues.redis_url import admitted
from queues.settings import Settings
from workers import agent_worker, flower, tool_worker
from workers.agents import Project, load_project
from workers.celery_worker import arguments
from workers.commands.log_lines import Log, start_log
from workers.commands.worker_start import run_worker


def run_agent_worker(settings: Settings, *, concurrency: int | None, node: str, loglevel: str) -> int:
    """Run an agent worker until it is told to leave; returns its exit code."""
    start_log(Log("agent-worker", "agents", settings.log_format, loglevel))
    app = agent_worker.build(settings)
    project = load_project(settings)
    for warning in calls_for_people(project):
        logging.getLogger("errandry").warning(warning)
    at_once = concurrency or settings.agent_concurrency
    return run_worker(
        app,
        arguments(node=node, concurrency=at_once, loglevel=loglevel),
        ready=f"agents {', '.join(sorted(project.agents))}; {at_once} runs at once",
    )


def run_tool_worker(settings: Settings, pool: str, *, concurrency: int | None, node: str, loglevel: str) -> int:
    """Run a tool worker of the pool until it is told to leave; returns its exit code."""
    start_log(Log("tool-worker", pool, settings.log_format, loglevel, pool=pool))
    at_once = concurrency or tool_worker.pool_named(settings, pool).concurrency
    app = tool_worker.build(settings, pool, concurrency=at_once)
    return run_worker(
        app,
        arguments(node=node, concurrency=at_once, loglevel=loglevel),
        ready=f"pool {pool}; {at_once} calls at once",
    )


def run_flower(settings: Settings, *, address: str, port: int, basic_auth: Sequence[str]) -> None:
    """Serve Flower until it is told to leave."""
    start_log(Log("flower", "flower", settings.log_format))
    # Refused requests are the browser's business, and workers that are not up yet are no failure.
    for name in ("tornado.access", "flower.inspector"):
        logging.getLogger(name).setLevel(logging.ERROR)
    flower.serve(
        admitted(settings, FLOWER),
        address=address,
        port=port,
        basic_auth=basic_auth,
        on_ready=lambda url: logging.getLogger("errandry").info("%s %s", flower.READY, url),
    )


def calls_for_people(project: Project) -> list[str]:
    """A warning for each external tool that is in no pool: nobody but a person will ever answer its calls."""
    return [
        f"tool {function.name!r} of agent {name!r} is external and in no pool, so each of its calls waits for a person "
        "(`errandry pending`, `errandry settle`); list it under [pools.NAME] in errandry.toml to have it executed"
        for name, agent in project.agents.items()
        for function in agent.functions().values()
        if function.external_execution and function.name not in project.routing.pools
    ]
