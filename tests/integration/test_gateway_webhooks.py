"""Webhooks through a real gateway: what a submit may name, and that it is delivered, even if a gateway is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis

from queues import keys
from queues.settings import Settings
from tests.support.gateways import Story, project, serving
from tests.support.queue_floor import Floor
from tests.support.redis_users import nobody_refused
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Posted, Receiver

pytestmark = pytest.mark.redis

SECRET = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0cw=="
KEY = b"secret-of-the-tests"
SIGNED = {"webhook_secret": "env:WEBHOOK_SECRET", "webhook_allow_private": True}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


def submitted(client: httpx2.Client, url: str) -> httpx2.Response:
    return client.post("/v1/runs", json={"agent": "ops", "input": "hello", "webhook_url": url})


def test_what_a_submit_names_is_told_when_the_run_ends(
    tmp_path: Path, redis_url: str, floor: Floor, receiver: Receiver
) -> None:
    with (
        nobody_refused(redis_url),
        serving(project(tmp_path, redis_url, gateway=SIGNED)) as served,
        served.asking() as client,
    ):
        run_id = str(submitted(client, receiver.url()).json()["run_id"])
        Story(floor, run_id).ends("It is green.")
        wait_until(lambda: receiver.posted and not floor.connection.exists(keys.WEBHOOKS), "it is delivered")
    (posted,) = receiver.posted
    assert posted.is_signed_with(KEY)
    assert (posted.told["type"], posted.told["data"]["content"]) == ("run.completed", "It is green.")


@pytest.mark.parametrize(
    ("gateway", "url", "words"),
    [
        ({}, "https://example.com/", "set webhook_secret in [gateway]"),
        ({"webhook_secret": "env:WEBHOOK_SECRET"}, "http://127.0.0.1:1/", "webhook_allow_private = true"),
        (SIGNED, "http://169.254.169.254/latest", "a metadata address"),
        (SIGNED, "https://me:hush@example.com/", "user name or password"),
        (SIGNED, "gopher://example.com/", "https:// or http://"),
    ],
)
def test_a_submit_that_could_never_be_told_is_refused_and_stores_nothing(
    gateway: dict[str, object], url: str, words: str, tmp_path: Path, redis_url: str, redis_connection: redis.Redis
) -> None:
    with serving(project(tmp_path, redis_url, gateway=gateway)) as served, served.asking() as client:
        refused = submitted(client, url)
    assert refused.status_code == 422 and "hush" not in refused.text
    assert words in refused.json()["detail"]
    assert refused.json()["errors"][0]["field"] == "body.webhook_url"
    assert redis_connection.zcard(keys.RUNS) == 0


@pytest.mark.fault
def test_what_a_killed_gateway_had_in_hand_another_delivers_under_the_same_id(
    tmp_path: Path, redis_url: str, floor: Floor
) -> None:
    died = threading.Event()

    def hangs_first(posted: Posted) -> tuple[int, dict[str, str], bytes]:
        if len(slow.posted) == 1:
            died.wait(60)
        return 200, {}, b""

    settings = project(tmp_path, redis_url, gateway=SIGNED)
    with Receiver(hangs_first) as slow:
        floor.webhook_url = slow.url()
        first = started(settings)
        try:
            Story(floor, floor.submitted()).ends()
            wait_until(lambda: slow.posted, "the first gateway is delivering", timeout_seconds=60)
        finally:
            first.kill()
            first.wait()
        died.set()
        # As if the lease of its try had run out.
        (entry,) = (str(entry) for entry in floor.connection.zrange(keys.WEBHOOKS, 0, -1))
        floor.connection.zadd(keys.WEBHOOKS, {entry: 1})
        with serving(settings):
            wait_until(lambda: not floor.connection.exists(keys.WEBHOOKS), "another has delivered", timeout_seconds=30)
    assert len(slow.ids) == 2 and len(set(slow.ids)) == 1


def started(settings: Settings) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "workers.cli", "gateway", "--port", "0"]
    return subprocess.Popen(command, env=environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def environment(settings: Settings) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "WEBHOOK_SECRET": SECRET, **settings.as_environment()}
