"""What a submit sends: one round trip, however often, and whatever happened to the server's scripts."""

from __future__ import annotations

import pytest
import redis

from queues.client import Client
from tests.support.commands import counted_commands

pytestmark = pytest.mark.redis


def test_a_submit_is_one_command(redis_url: str, redis_connection: redis.Redis) -> None:
    with Client(redis_url) as client:
        client.submit("ops", "the first one opens the connection and loads the script")
        with counted_commands(redis_connection) as commands:
            for number in range(10):
                client.submit("ops", "hello", idempotency_key=f"k{number}", deadline_seconds=60, session_id="s")
    assert commands == {"evalsha": 10}


def test_a_server_without_the_script_is_given_it_once(redis_url: str, redis_connection: redis.Redis) -> None:
    with Client(redis_url) as client:
        client.submit("ops", "hello")
        redis_connection.script_flush()
        with counted_commands(redis_connection) as commands:
            for _ in range(3):
                client.submit("ops", "hello")
    assert commands == {"evalsha": 4, "script": 1}


def test_waiting_for_the_disk_is_one_command_more(redis_url: str, redis_connection: redis.Redis) -> None:
    with Client(redis_url, durability="fsync") as client:
        client.submit("ops", "hello")
        with counted_commands(redis_connection) as commands:
            client.submit("ops", "hello")
    assert commands == {"evalsha": 1, "waitaof": 1}
