"""What an acknowledged submit is worth: stored, and on disk where that is asked for."""

from __future__ import annotations

import pytest
import redis

from queues.client import Client
from queues.errors import StoreRefusedError
from tests.support.valkey import configured

pytestmark = pytest.mark.redis


def test_a_submit_waits_for_the_disk_if_told_to(redis_url: str, redis_connection: redis.Redis) -> None:
    client = Client(redis_url, durability="fsync")
    before = redis_connection.info("commandstats").get("cmdstat_waitaof", {"calls": 0})["calls"]
    run = client.submit("ops", "hello")
    assert run.output().input == "hello"
    assert redis_connection.info("commandstats")["cmdstat_waitaof"]["calls"] == before + 1


def test_a_server_that_writes_no_file_cannot_promise_that(redis_url: str, redis_connection: redis.Redis) -> None:
    with configured(redis_connection, "appendonly", "no"):
        with pytest.raises(StoreRefusedError, match="appendonly yes"):
            Client(redis_url, durability="fsync").submit("ops", "hello", idempotency_key="k")
        assert Client(redis_url).submit("ops", "hello", idempotency_key="k").output().input == "hello"
