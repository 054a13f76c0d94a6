"""What whoever may push onto a queue can do to its worker: nothing, and it is seen."""

from __future__ import annotations

import base64
import json
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.exceptions import ContentDisallowed, SerializerNotInstalled
from kombu.serialization import dumps, loads
from pydantic import SecretStr

from agent_core.run import RunStatus
from queues.celery_app import tool_app
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.envelopes import call_envelope, start_envelope
from queues.errors import NotRequeueableError
from queues.refusals import collect, set_aside
from queues.settings import PoolSettings, Settings
from queues.topology import place_of
from tests.support.waiting import wait_until
from tests.support.walking import Walk, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60
SECRET = "sesame-4711"
Message = dict[str, Any]


class Bomb:
    """Does harm to whoever unpickles it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (f"/tmp/{SECRET}",)


def good(queue: str) -> Message:
    """A message that would be taken, for a call or a run that does not exist."""
    if queue == "agents":
        envelope = start_envelope("ops", f"run_{SECRET}", "normal")
    else:
        envelope = call_envelope("shell", "run_command", (f"run_{SECRET}", 1, "call"), "normal", parent_id="x")
    message: Message = json.loads(envelope.render())
    return message


def with_body(message: Message, body: object) -> Message:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return message | {"body": base64.b64encode(text).decode()}


def changed(message: Message, table: str, **values: object) -> Message:
    return message | {table: message[table] | values}


def lacking(message: Message, table: str, field: str) -> Message:
    return message | {table: {name: value for name, value in message[table].items() if name != field}}


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


NO_CANVAS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SIGNATURE = {"task": "tools.shell.run_command", "args": ["x", 1, "y"], "kwargs": {}, "options": {}}

HOSTILE: dict[str, tuple[Callable[[Message], object], str]] = {
    "pickle": (
        lambda m: with_body(m, pickle.dumps(Bomb())) | {"content-type": "application/x-python-serialize"},
        "content-type is not what it must be",
    ),
    "pickle that says it is JSON": (lambda m: with_body(m, pickle.dumps(Bomb())), "its body is not JSON"),
    "pickle, bare": (lambda m: pickle.dumps(Bomb()), "it is not JSON"),
    "yaml": (
        lambda m: with_body(m, b"!!python/object/apply:os.mkdir [/tmp/x]") | {"content-type": "application/x-yaml"},
        "content-type is not what it must be",
    ),
    "no JSON at all": (lambda m: f"hello {SECRET}".encode(), "it is not JSON"),
    "nothing": (lambda m: b"", "it is not JSON"),
    "not UTF-8": (lambda m: b"\xff\xfe" + SECRET.encode(), "it is not JSON"),
    "a number": (lambda m: b"7", "it is not what it must be"),
    "NaN": (lambda m: json.dumps(changed(m, "headers", retries=float("nan"))).encode(), "it is not JSON"),
    "deep nesting": (lambda m: deep(30_000), "it is nested too deeply"),
    "deep nesting in the body": (lambda m: with_body(m, deep(20_000)), "its body is nested too deeply"),
    "fifty megabytes": (lambda m: b"[" + SECRET.encode() * 4_800_000, "it has 52800001 bytes"),
    "broken base64": (lambda m: m | {"body": "%%%" + SECRET}, "its body is not base64"),
    "a body that is no task's": (lambda m: with_body(m, {"secret": SECRET}), "its body is not that of a task"),
    "no properties": (lambda m: {k: v for k, v in m.items() if k != "properties"}, "properties is missing"),
    "no delivery tag": (lambda m: lacking(m, "properties", "delivery_tag"), "properties.delivery_tag is missing"),
    "a delivery tag that is a list": (
        lambda m: changed(m, "properties", delivery_tag=["x"]),
        "properties.delivery_tag is not what it must be",
    ),
    "headers that are a list": (lambda m: m | {"headers": [1, 2]}, "headers is not what it must be"),
    "no task": (lambda m: lacking(m, "headers", "task"), "headers.task is missing"),
    "a field that no message has": (lambda m: m | {SECRET: 1}, "the message has a field that no message has"),
    "a header that no message has": (
        lambda m: changed(m, "headers", **{SECRET: 1}),
        "headers has a field that no message has",
    ),
    "another queue's task": (lambda m: changed(m, "headers", task=f"os.{SECRET}"), "its task is none of this queue"),
    "addressed elsewhere": (
        lambda m: changed(m, "properties", delivery_info={"exchange": "", "routing_key": "tools.python"}),
        "it is addressed to another queue",
    ),
    "too many arguments": (lambda m: with_body(m, [["x", 1, "y", SECRET], {}, NO_CANVAS]), "its arguments are not"),
    "no arguments": (lambda m: with_body(m, [[], {}, NO_CANVAS]), "its arguments are not those of its task"),
    "arguments of wrong types": (lambda m: with_body(m, [[{"x": SECRET}, 1, 2], {}, NO_CANVAS]), "arguments.0"),
    "huge arguments": (lambda m: with_body(m, [["x" * 5000], {}, NO_CANVAS]), "arguments.0"),
    "keyword arguments": (lambda m: with_body(m, [["x", 1, "y"], {"x": SECRET}, NO_CANVAS]), "keywords is not"),
    "a callback": (
        lambda m: with_body(m, [["x", 1, "y"], {}, NO_CANVAS | {"callbacks": [SIGNATURE]}]),
        "canvas.callbacks is not what it must be",
    ),
    "a date in the future": (lambda m: changed(m, "headers", eta="2999-01-01T00:00:00"), "headers.eta is not"),
    "an expiry": (lambda m: changed(m, "headers", expires="1999-01-01T00:00:00"), "headers.expires is not"),
    "time limits": (lambda m: changed(m, "headers", timelimit=[1, 1]), "headers.timelimit"),
    "another run's id": (lambda m: changed(m, "headers", id="run_other:1:call"), "its id does not agree"),
    "another root": (lambda m: changed(m, "headers", root_id="run_other"), "its ids do not agree"),
    "a reply asked for": (lambda m: changed(m, "headers", ignore_result=False), "headers.ignore_result is not"),
}


def rendered(message: object) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, embedded_server: EmbeddedServer) -> Iterator[Walk]:
    embedded_server.revive()
    with walking(tmp_path_factory.mktemp("hostile"), embedded_server.url) as running:
        yield running


@pytest.fixture
def owner(embedded_server: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(embedded_server.url) as connection:
        yield connection


@pytest.mark.parametrize("queue", ["tools.shell", "agents"])
def test_hostile_messages_are_buried_and_the_worker_goes_on(queue: str, walk: Walk, owner: redis.Redis) -> None:
    before = {letter.id for letter in walk.client.dead_letters()}
    pids = walk.processes.pids()
    for hostile, _ in HOSTILE.values():
        owner.lpush(queue, rendered(hostile(good(queue))))
    owner.lpush(queue, rendered(good(queue)))  # that one is taken, and found to be of nobody

    def letters() -> dict[str, str]:
        return {letter.id: letter.reason for letter in walk.client.dead_letters() if letter.id not in before}

    wait_until(lambda: len(letters()) >= len(HOSTILE), "all are buried", timeout_seconds=BOUND)
    reasons = letters().values()
    assert len(reasons) == len(HOSTILE), reasons
    for name, (_, expected) in HOSTILE.items():
        assert any(expected in reason for reason in reasons), (name, reasons)
    # Nobody has died or hangs, and nothing of what was pushed is told anywhere.
    output = walk.client.submit("ops", "Run echo unharmed").wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED and "unharmed" in str(output.content)
    assert walk.processes.pids() == pids
    told = [line for line in walk.lines if SECRET in line and f"run_{SECRET}" not in line]
    assert told == [] and SECRET not in str(letters())
    assert not Path(f"/tmp/{SECRET}").exists()
    wait_until(lambda: owner.llen(queue) == 0, "the queue is empty")


def test_a_refused_message_is_shown_and_cannot_be_requeued(walk: Walk, owner: redis.Redis) -> None:
    owner.lpush("tools.python.high", f"junk {SECRET}")
    wait_until(
        lambda: any(letter.queue == "tools.python.high" for letter in walk.client.dead_letters()), "it is buried"
    )
    letter = next(letter for letter in walk.client.dead_letters() if letter.queue == "tools.python.high")
    assert (letter.kind, letter.pool, letter.reason) == ("message", "python", "refused: it is not JSON (16 bytes)")
    with pytest.raises(NotRequeueableError, match="nothing of it was kept"):
        walk.client.requeue(letter.id)


def test_arguments_and_results_are_in_no_log(walk: Walk) -> None:
    walk.client.submit("ops", "Run echo sesame-0815").wait(timeout=BOUND)
    assert not [line for line in walk.lines if "sesame-0815" in line]


def test_a_flood_fills_neither_the_pools_keys_nor_the_dead_letters(redis_connection: redis.Redis) -> None:
    place = place_of("tools.shell")
    assert place is not None
    for number in range(700):
        set_aside(redis_connection, f"junk {number}".encode(), place, reason="it is not JSON")
    assert redis_connection.llen("errandry:part:shell:refused") == 500
    assert collect(redis_connection, ["shell"]) == 100


def test_two_sweeps_collect_each_letter_once(redis_connection: redis.Redis) -> None:
    place = place_of("tools.shell")
    assert place is not None
    for number in range(50):
        set_aside(redis_connection, f"junk {number}".encode(), place, reason="it is not JSON")
    sweeps = [threading.Thread(target=collect, args=(redis_connection, ["shell"])) for _ in range(3)]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.join(BOUND)
    assert redis_connection.llen("errandry:part:shell:refused") == 0
    assert redis_connection.zcard("errandry:dead") == redis_connection.hlen("errandry:dead:letters") == 50


@pytest.mark.parametrize("kind", ["pickle", "yaml", "msgpack"])
def test_nothing_but_json_can_be_loaded_in_a_worker(kind: str) -> None:
    app = tool_app(
        Settings(redis_url=SecretStr("redis://127.0.0.1:1/0"), pools={"shell": PoolSettings(tools=("a:b",))}), "shell"
    )
    assert set(app.conf.accept_content) == {"json"}
    with pytest.raises(SerializerNotInstalled):
        dumps({}, serializer=kind)  # type: ignore[no-untyped-call]
    types = {
        "pickle": "application/x-python-serialize",
        "yaml": "application/x-yaml",
        "msgpack": "application/x-msgpack",
    }
    body = pickle.dumps(Bomb()) if kind == "pickle" else b"x"
    with pytest.raises(ContentDisallowed):
        loads(body, types[kind], "binary", accept=["json"])  # type: ignore[no-untyped-call]
    # Even by force there is nothing left that could load it.
    assert loads(body, types[kind], "binary", force=True) == body  # type: ignore[no-untyped-call]
