"""The gateway as a command: what it refuses to start with, its keys from the command line, and how it leaves."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from queues.acl import GATEWAY
from queues.connections import connect
from tests.support.blocked import blocked
from tests.support.command import Command, Started
from tests.support.gateways import connections_of, project, read_frames
from tests.support.redis_users import nobody_refused
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@pytest.fixture
def command(tmp_path: Path, redis_url: str) -> Iterator[Command]:
    """`errandry` in a project whose server runs already, with a Redis user for each process."""
    folder = tmp_path / "project"
    folder.mkdir()
    settings = project(folder, redis_url)
    assert settings.redis_url is not None
    (folder / "errandry.toml").write_text(
        f'redis_url = "{settings.redis_url.get_secret_value()}"\nredis_users = "users.json"\nagents = ["a:ops"]\n'
        '[pools.shell]\ntools = ["t:run"]\n[pools.python]\ntools = ["t:count"]\n[gateway]\nport = 0\n'
    )
    found = Command(folder)
    with nobody_refused(redis_url):
        yield found
    assert found.left_behind() == []


def url_of(gateway: Started) -> str:
    return gateway.wait_for_line("Gateway is ready at").rpartition(" ")[2]


def test_it_serves_as_its_own_redis_user_and_leaves_in_order(command: Command, redis_url: str) -> None:
    with command.started("gateway") as gateway, httpx2.Client(base_url=url_of(gateway), timeout=60) as client:
        run_id = client.post("/v1/runs", json={"agent": "ops", "input": "hello"}).json()["run_id"]
        begun, ended = threading.Event(), threading.Event()

        def follow() -> None:
            with client.stream("GET", f"/v1/runs/{run_id}/events") as answer:
                frames = read_frames(answer.iter_lines())
                assert next(frames) == {"comment": ""}
                begun.set()
                assert list(frames) == []
            ended.set()

        reader = threading.Thread(target=follow)
        reader.start()
        assert begun.wait(30)
        with connect(redis_url) as owner:
            assert connections_of(owner, GATEWAY) >= 2
            wait_until(lambda: blocked(owner, user=GATEWAY, cmd="xread"), "the stream waits", timeout_seconds=30)
        assert gateway.stop(signal.SIGTERM) == 0, gateway.said()
        assert ended.wait(30)
        reader.join()
    assert "Traceback" not in gateway.said() and run_id not in gateway.said()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_it_refuses_to_be_reached_by_others_without_a_key(command: Command, host: str) -> None:
    refused = command.run("gateway", "--host", host)
    assert refused.returncode == 2
    assert "errandry key create" in refused.stderr and "Traceback" not in refused.stderr


def test_with_a_key_it_may_be_reached_by_others(command: Command) -> None:
    token = command.run("key", "create", "shop", "--role", "read").stdout.strip()
    with command.started("gateway", "--host", "0.0.0.0") as gateway:
        url = url_of(gateway).replace("0.0.0.0", "127.0.0.1")
        with httpx2.Client(base_url=url, timeout=60) as client:
            assert client.get("/v1/runs").status_code == 401
            # Where names are no secret either: whoever has a key may call the gateway what they like.
            headers = {"Authorization": f"Bearer {token}", "Host": "errandry.example"}
            assert client.get("/v1/runs", headers=headers).status_code == 200
            # Nor does the loss of the file open it.
            (command.folder / ".errandry" / "api-keys.json").unlink()
            assert client.get("/v1/runs").status_code == 401
            assert client.get("/v1/runs", headers=headers).status_code == 401
        assert gateway.stop(signal.SIGTERM) == 0, gateway.said()


def test_a_taken_port_is_named(command: Command) -> None:
    with command.started("gateway") as gateway:
        port = url_of(gateway).rpartition(":")[2]
        refused = command.run("gateway", "--port", port)
        assert refused.returncode == 1 and f"Port {port}" in refused.stderr and "--port" in refused.stderr


def test_keys_are_shown_once_and_listed_without_their_secrets(command: Command) -> None:
    made = command.run("key", "create", "shop", "--role", "submit", "--role", "read", "--pool", "shell")
    token = made.stdout.strip()
    assert made.returncode == 0 and token.startswith("ek_") and "not shown again" in made.stderr
    as_json = json.loads(command.run("key", "create", "second", "--role", "answer", "--json").stdout)
    listed = command.run("key", "list")
    assert "shop  submit, read, pool:shell" in listed.stdout and "second  answer" in listed.stdout
    assert token not in listed.stdout and as_json["key"] not in listed.stdout
    assert [key["name"] for key in json.loads(command.run("key", "list", "--json").stdout)] == ["shop", "second"]
    assert command.run("key", "revoke", "shop").returncode == 0
    for wrong in (["revoke", "shop"], ["create", "second", "--role", "read"], ["create", "third"]):
        refused = command.run("key", *wrong)
        assert refused.returncode == 1 and refused.stderr.startswith("Error: "), refused.stderr
    assert command.run("key", "create", "third", "--role", "everything").returncode == 2
    command.run("key", "revoke", "second")
    assert "lets nobody in" in command.run("key", "list").stdout


def test_up_starts_it_with_the_others_and_stops_it_with_them(tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    started = Command(tmp_path).run("init", "alone")
    assert started.returncode == 0, started.stderr
    command = Command(folder)
    with command.up("--no-flower") as up:
        url = up.wait_for_line("Gateway: http").rpartition(" ")[2].strip()
        assert ", gateway" in up.wait_for_line("Up: ")
        with httpx2.Client(base_url=url, timeout=60) as client:
            assert client.get("/ready").json()["agents_announced"] >= 1
    assert command.left_behind() == []
