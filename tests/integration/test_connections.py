"""Connections: what Redis refuses or leaves unanswered becomes a sentence without a password."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import redis

from queues import connections
from queues.connections import check, connect, translated_errors
from queues.embedded import EmbeddedServer
from queues.errors import QueueError, StoreRefusedError
from tests.support.silent_port import silent_port
from tests.support.valkey import configured
from tests.support.waiting import wait_until


def refused(url: str, *, patience_seconds: float = 10.0) -> str:
    connection = connect(url, socket_timeout_seconds=patience_seconds, connect_timeout_seconds=patience_seconds)
    with connection, pytest.raises(QueueError) as caught:
        check(connection)
    password = urlsplit(url).password
    assert password is None or password not in str(caught.value)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_answers_are_text_and_blocking_reads_come_as_lists(redis_connection: redis.Redis) -> None:
    check(redis_connection)
    identifier = redis_connection.xadd("stream", {"key": "value"})
    assert redis_connection.xread({"stream": "0"}, block=1000) == [["stream", [(identifier, {"key": "value"})]]]
    assert redis_connection.xread({"stream": "$"}, block=10) == []


def test_a_wrong_password(redis_url: str) -> None:
    port = urlsplit(redis_url).port
    for credentials in (":wrong@", "nobody:wrong@", ""):
        said = refused(f"redis://{credentials}127.0.0.1:{port}/3")
        assert said.startswith(f"StoreRefusedError: Redis at 127.0.0.1:{port}/3 refused user or password")


def test_nobody_there() -> None:
    with silent_port() as port:
        said = refused(f"redis://:hush@127.0.0.1:{port}/0")
    assert said.startswith(f"StoreUnreachableError: Redis at 127.0.0.1:{port}/0 cannot be reached (")
    assert "redis_url (or ERRANDRY_REDIS_URL)" in said
    assert "StoreUnreachableError: Redis at /nowhere/socket/0 cannot be reached" in refused("unix:///nowhere/socket")


def test_a_silent_server(redis_url: str, embedded_server: EmbeddedServer) -> None:
    os.kill(embedded_server.pid, signal.SIGSTOP)
    try:
        assert "StoreUnreachableError" in refused(redis_url, patience_seconds=0.1)
    finally:
        os.kill(embedded_server.pid, signal.SIGCONT)


def test_out_of_memory_also_in_a_script(redis_connection: redis.Redis) -> None:
    with configured(redis_connection, "maxmemory", 1):
        for write in (
            lambda: redis_connection.set("key", "value"),
            lambda: redis_connection.eval("return redis.call('set', KEYS[1], 'value')", 1, "key"),
        ):
            with pytest.raises(StoreRefusedError, match="out of memory"), translated_errors(redis_connection):
                write()


def test_a_replica_and_a_narrow_user(redis_connection: redis.Redis, redis_url: str) -> None:
    redis_connection.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(StoreRefusedError, match="read-only replica"), translated_errors(redis_connection):
            redis_connection.set("key", "value")
    finally:
        redis_connection.replicaof("NO", "ONE")
    redis_connection.acl_setuser("narrow", enabled=True, passwords=["+hush"], commands=["+ping"])
    port = urlsplit(redis_url).port
    with connect(f"redis://narrow:hush@127.0.0.1:{port}/0") as narrow:
        check(narrow)
        with pytest.raises(StoreRefusedError, match="does not permit this") as caught, translated_errors(narrow):
            narrow.pipeline(transaction=False).set("key", "canary").execute()
        assert "canary" not in str(caught.value) and "permissions" in str(caught.value)
        with pytest.raises(StoreRefusedError, match="does not permit this"), translated_errors(narrow):
            narrow.get("key")


def test_a_full_disk(redis_connection: redis.Redis) -> None:
    with pytest.raises(StoreRefusedError, match="free some space"), translated_errors(redis_connection):
        raise redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device")


def test_faults_of_ours_pass_as_they_are(redis_connection: redis.Redis) -> None:
    redis_connection.set("text", "value")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"), translated_errors(redis_connection):
        redis_connection.lpush("text", "value")
    with pytest.raises(KeyError), translated_errors(redis_connection):
        raise KeyError("ours")


def test_a_short_restart_is_ridden_out(
    redis_connection: redis.Redis, embedded_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_connection.set("key", "value")
    # A busy machine may need longer for a restart than all tries together take.
    monkeypatch.setattr(connections, "RETRIES", 60)
    with connect(embedded_server.url) as patient, ThreadPoolExecutor(1) as thread:
        assert patient.get("key") == "value"
        os.kill(embedded_server.pid, signal.SIGKILL)
        wait_until(lambda: not embedded_server.is_alive, "the server has died")
        reading = thread.submit(patient.get, "key")
        embedded_server.revive()
        assert reading.result(30) == "value"
