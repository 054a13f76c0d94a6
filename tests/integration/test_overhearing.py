"""What MONITOR tells of a server's commands: who sent them, under which name, and which ones a script carried out."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from queues.connections import connect
from queues.scripts import Scripts, script_names
from workers.bench.traffic import overhearing

pytestmark = pytest.mark.redis

SENDER = "errandry-somebody"


@pytest.fixture
def sender(redis_connection: redis.Redis, redis_url: str) -> str:
    """The address for a user of its own."""
    redis_connection.execute_command("ACL", "SETUSER", SENDER, "reset", "on", ">secret", "~*", "&*", "+@all")  # type: ignore[no-untyped-call]
    parts = urlsplit(redis_url)
    return urlunsplit(parts._replace(netloc=f"{SENDER}:secret@{parts.hostname}:{parts.port}"))


def test_commands_are_told_by_sender_and_those_of_scripts_apart(redis_connection: redis.Redis, sender: str) -> None:
    with connect(sender) as connection:
        connection.ping()
        scripts = Scripts(connection)
        scripts.run("tell_output", ["part", "events"], ["call", 1, 1000, 1])  # the server knows it from here on
        with overhearing(redis_connection) as traffic:
            connection.set("key", 'a "quoted" \\ text\n[0 lua] "get"')
            connection.get("key")
            connection.get("key")
            scripts.run("tell_output", ["part", "events"], ["call", 1, 1000, 1])
            connection.eval("return redis.call('SET', KEYS[1], 'x')", 1, "other")
            redis_connection.get("what whoever listens sends is not counted")
    assert traffic.sent == {
        (SENDER, "set"): 1,
        (SENDER, "get"): 2,
        (SENDER, "evalsha tell_output"): 1,
        (SENDER, "eval"): 1,
    }
    assert traffic.in_scripts["set"] == 1
    assert "get" not in traffic.in_scripts


def test_every_script_has_a_name() -> None:
    names = script_names()
    assert {"create_run", "claim_run", "settle_call"} <= set(names.values())
    assert "prelude" not in names.values()
    assert len(set(names.values())) == len(names)
