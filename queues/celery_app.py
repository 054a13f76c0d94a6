"""Builds the Celery app of each kind of process; holds no task bodies.

Celery carries hints here. It has no result backend and redelivers nothing: the settings below make it quick to notice
a dead peer and keep it from losing a place in Flower.
"""

from __future__ import annotations

import contextlib
import warnings

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning
from celery.worker.control import Panel
from kombu.entity import Queue
from kombu.exceptions import SerializerNotInstalled
from kombu.serialization import registry

from queues import transport
from queues.broker_address import broker_url, broker_use_ssl, transport_options
from queues.settings import Settings
from queues.store_address import StoreAddress
from queues.topology import AGENTS_QUEUE, agents_queues, pool_queue, pool_queues
from queues.worker_events import WorkerEvents, heed_listeners

_TRANSPORT_OPTIONS = {
    "priority_steps": [0],
    "queue_order_strategy": "priority",
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "max_connections": 20,
}

# What workers answer of what Celery lets others ask of them. The rest are orders (revoke, consume less, write a dump),
# and Redis cannot tell an order from a question: whoever may look on could give them. Of these only the one to leave is
# taken: it drains, nothing is lost by it, and a supervisor starts the worker again.
_ANSWERED = {
    *("ping", "stats", "conf", "report", "clock", "registered", "active", "reserved", "scheduled", "revoked"),
    *("query_task", "active_queues", "enable_events", "heartbeat", "shutdown"),
}
_NOT_TAKEN = (
    "Errandry's workers take no order but to shut down: set concurrency and limits in errandry.toml, and end runs with "
    "`errandry cancel RUN`."
)


def agent_app(settings: Settings) -> Celery:
    """The app of agent workers: it consumes the agents' lanes."""
    app = _app(settings, queues=agents_queues(), default=AGENTS_QUEUE)
    app.conf.worker_concurrency = settings.agent_concurrency
    _take_few_orders()
    return app


def tool_app(settings: Settings, pool: str) -> Celery:
    """The app of one pool's tool workers: it consumes that pool's lanes and nothing else."""
    app = _app(settings, queues=pool_queues(pool), default=pool_queue(pool))
    app.conf.worker_concurrency = settings.pools[pool].concurrency
    _take_few_orders()
    return app


def watching_app(settings: Settings) -> Celery:
    """The app of Flower: it consumes nothing and knows all queues by name."""
    queues = [*agents_queues(), *(queue for pool in settings.pools for queue in pool_queues(pool))]
    return _app(settings, queues=queues, default=AGENTS_QUEUE)


def _app(settings: Settings, *, queues: list[str], default: str) -> Celery:
    if settings.redis_url is None:
        raise ValueError("settings without redis_url: resolve the embedded server's URL first")
    address = StoreAddress.of(settings.redis_url.get_secret_value())
    # Celery advises to cancel running tasks when the broker is lost. We leave them be on purpose: nothing of them is
    # given back, and a paid model call is not thrown away at every blip.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    app = Celery("errandry", broker=broker_url(address), events=WorkerEvents, set_as_current=False)
    transport.use(app)
    _close_other_serializers()
    app.conf.update(
        # JSON only, and nothing else could be loaded even if it were accepted: see below.
        accept_content=["json"],
        task_serializer="json",
        event_serializer="json",
        result_accept_content=["json"],
        # One list per queue and exchange '' keep the rule for ready-made messages simple.
        task_queues=[Queue(name, exchange="", routing_key=name) for name in queues],  # type: ignore[no-untyped-call]
        task_default_queue=default,
        task_default_exchange="",
        task_default_routing_key=default,
        task_ignore_result=True,
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        task_reject_on_worker_lost=True,
        task_track_started=False,
        worker_pool="threads",
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        # Without remote control a worker can stall for good after a broker restart.
        worker_enable_remote_control=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_use_ssl=broker_use_ssl(address),
        broker_transport_options={**_TRANSPORT_OPTIONS, **transport_options(address)},
    )
    return app


def _take_few_orders() -> None:
    for command in Panel.data.keys() - _ANSWERED:
        Panel.data[command] = _refuse
    heed_listeners()


def _refuse(_state: object, **_: object) -> dict[str, str]:
    """Whoever asked hears why; without an answer Flower would not know, and say that the reason is unknown."""
    return {"error": _NOT_TAKEN}


def _close_other_serializers() -> None:
    """Leave this process no way to load pickle, YAML or MessagePack from a message, whatever it is told to accept."""
    for name in ("pickle", "yaml", "msgpack"):
        with contextlib.suppress(SerializerNotInstalled):  # that it is gone already, or was never installed, is well
            registry.unregister(name)  # type: ignore[no-untyped-call]
