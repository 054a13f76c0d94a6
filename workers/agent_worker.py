"""The agent worker: a Celery worker that carries runs on and sweeps; holds the model's key, runs no external tool.

celery -A workers.agent_worker worker
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

from celery import Celery

from queues.acl import AGENTS
from queues.celery_app import agent_app
from queues.claims import Claims
from queues.connections import check, connect, translated_errors
from queues.count_telling import CountTeller
from queues.leases import LeaseKeeper
from queues.offers import Offers
from queues.redis_url import resolved
from queues.repairs import Repairs
from queues.run_store import RedisRunStore
from queues.settings import Settings, load_settings
from queues.stand_in import Orders, StandIn
from queues.timing import Timing
from queues.user_checkup import AGENT_WORKER
from workers.agent_tasks import Advancer, register
from workers.agents import load_project
from workers.beating import Beating
from workers.beats import AGENT_BEATS
from workers.celery_worker import attach, identity
from workers.draining import Drain
from workers.exporters.counts import Counts
from workers.exporters.tracing import open_traces
from workers.sweep import Sweep
from workers.watching.unexecuted import UnexecutedCalls

# Producers hear of a dead agent worker's agents for this much longer than of its last heartbeat.
_ANNOUNCED_BEATS = 6


def build(settings: Settings) -> Celery:
    """The app of an agent worker, with a task for each agent of the project.

    Raises before anything is consumed: SettingsError and its like for the project, StoreUnreachableError or
    StoreRefusedError for Redis.
    """
    project = load_project(settings)
    settings = resolved(settings, AGENTS)
    assert settings.redis_url is not None
    connection = connect(settings.redis_url.get_secret_value(), client_name=AGENT_WORKER)
    check(connection)
    timing = Timing.of_lease(settings.lease_seconds)
    worker = identity("agents")
    counts = Counts(agents=project.agents)
    counted = CountTeller(connection, pool=None, process=worker, take=counts.take)
    counts.listen()
    traces = open_traces("errandry-agent-worker", instance=worker)
    claims = Claims(connection, timing=timing)
    offers = Offers(connection)
    leases = LeaseKeeper(
        connection,
        heartbeat_seconds=timing.heartbeat_seconds,
        # Inline tools run in this process, and nothing keeps them from holding the interpreter's lock.
        stand_in=StandIn(Orders(settings.redis_url.get_secret_value(), timing.heartbeat_seconds)),
    )
    sweep = Sweep(
        Repairs(connection, timing=timing),
        pools=list(settings.pools),
        grace_seconds=timing.lease_seconds,
        on_call=UnexecutedCalls().tell,
    )
    app = agent_app(settings)
    register(
        app,
        Advancer(
            project=project,
            claims=claims,
            leases=leases,
            store=RedisRunStore.on(connection, timing=timing),
            worker=worker,
            traces=traces,
        ),
    )

    def announce() -> None:
        claims.announce(list(project.agents), valid_seconds=_ANNOUNCED_BEATS * timing.heartbeat_seconds)
        offers.announce_tools(project.offers)

    beating = Beating.of(settings, app, kind=AGENT_BEATS)

    # Now, so that a server that refuses writes ends the start with a sentence.
    with translated_errors(connection):
        announce()

    def set_up(stack: ExitStack) -> None:
        stack.callback(traces.close)
        stack.callback(counted.tell)
        leases.at_each_beat(announce)
        leases.at_each_beat(counted.tell)
        stack.callback(leases.close)
        if beating is not None:
            stack.callback(beating.close)
            beating.start(leases)
        stack.callback(sweep.close)
        sweep.start()

    attach(app, set_up, drain=Drain(leases, bound_seconds=settings.drain_seconds))
    return app


def __getattr__(name: str) -> Celery:
    """Build the app when Celery's own command asks for it; importing this module reads nothing."""
    if name in ("app", "celery"):
        settings = load_settings()
        sys.path.insert(0, str(settings.project_dir))
        return build(settings)
    raise AttributeError(name)
