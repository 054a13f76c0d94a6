"""Ready-made messages equal those that Kombu itself pushes for the same task."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from queues.celery_app import agent_app, tool_app
from queues.envelopes import Envelope, call_envelope, continuation_envelope, start_envelope
from queues.settings import PoolSettings, Settings

# What differs from message to message, or tells who sent it.
OF_ITS_OWN = {"delivery_tag", "reply_to", "origin"}


def settings(redis_url: str) -> Settings:
    return Settings(redis_url=SecretStr(redis_url), pools={"shell": PoolSettings(tools=("m:ls",))})


def comparable(raw: str) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(raw)
    message["body"] = json.loads(base64.b64decode(message["body"]))
    for part in (message["headers"], message["properties"]):
        for name in OF_ITS_OWN & part.keys():
            assert isinstance(part.pop(name), str)
    return message


@pytest.mark.redis
@pytest.mark.parametrize(
    "envelope",
    [
        start_envelope("ops", "run_1", "normal"),
        continuation_envelope("ops", "run_1", 3, "high"),
        call_envelope("shell", "ls", ("run_1", 3, "call_1"), "low", parent_id="run_1"),
    ],
    ids=lambda envelope: envelope.queue,
)
def test_a_rendered_message_equals_kombus_own(
    envelope: Envelope, redis_url: str, redis_connection: redis.Redis
) -> None:
    app = (
        tool_app(settings(redis_url), "shell") if envelope.queue.startswith("tools") else agent_app(settings(redis_url))
    )
    app.send_task(
        envelope.task,
        args=envelope.args,
        queue=envelope.queue,
        task_id=envelope.task_id,
        root_id=envelope.root_id,
        parent_id=envelope.parent_id,
        argsrepr=envelope.shown_args,
        kwargsrepr="{}",
        ignore_result=True,
    )
    app.close()
    pushed = redis_connection.rpop(envelope.queue)
    assert isinstance(pushed, str)
    assert comparable(envelope.render()) == comparable(pushed)


def test_each_rendering_has_a_delivery_tag_of_its_own() -> None:
    envelope = start_envelope("ops", "run_1", "normal")
    tags = {json.loads(envelope.render())["properties"]["delivery_tag"] for _ in range(20)}
    assert len(tags) == 20


def test_a_message_carries_ids_and_nothing_else() -> None:
    message = json.loads(call_envelope("shell", "ls", ("run_1", 3, "call_1"), "normal", parent_id="run_1").render())
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == (["run_1", 3, "call_1"], {})
