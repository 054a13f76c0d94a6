"""A message that was done with while the broker was away takes no place of the worker's any more."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.message import Message

from queues.celery_app import agent_app
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.envelopes import start_envelope
from queues.settings import load_settings
from queues.topology import AGENTS_QUEUE
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.fault]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path / "server") as server:
        yield server


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_a_lost_broker_takes_no_place_for_good(end: str, server: EmbeddedServer, tmp_path: Path) -> None:
    """Celery logs that an end could not be told, and goes on; with one place only, it would consume nothing more."""
    app = agent_app(load_settings(tmp_path, redis_url=server.url))
    with connect(server.url) as owner:
        owner.lpush(AGENTS_QUEUE, start_envelope("ops", "run_1", "normal").render())
    received: list[Message] = []
    with app.connection_for_read() as connection:
        consumer = app.amqp.TaskConsumer(connection, on_message=received.append)
        consumer.qos(prefetch_count=1)
        consumer.consume()
        connection.drain_events(timeout=10)
        places = consumer.channel.qos
        assert len(received) == 1 and not places.can_consume()
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not server.is_alive, "the server is gone")
        log, errors = logging.getLogger(__name__), connection.connection_errors
        if end == "ack":
            received[0].ack_log_error(log, errors)  # type: ignore[no-untyped-call]
        else:
            received[0].reject_log_error(log, errors, requeue=end == "requeue")  # type: ignore[no-untyped-call]
        assert places.can_consume()
        assert server.revive()
