"""All processes of a project under their Redis users, from submit to restart: nobody asks for what it may not do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues.acl import AGENTS, FLOWER, OPERATOR, pool_user, roles
from queues.celery_app import tool_app, watching_app
from queues.checkup import Level
from queues.connections import connect
from queues.consumers import ask_consumers
from queues.embedded import EmbeddedServer
from queues.passwords import FILE_NAME
from queues.redis_url import resolved, url_of
from queues.server_checkup import server_findings
from queues.topology import agents_queues, pool_queues
from tests.support.redis_users import nobody_refused
from tests.support.waiting import wait_until
from tests.support.walking import Walk, flower, kill, tool_worker, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60


@pytest.fixture(scope="module")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(server_folder: Path) -> Iterator[EmbeddedServer]:
    """Users of a server that was started with them survive its restart."""
    with EmbeddedServer.start(server_folder, roles=roles(["shell", "python"])) as started:
        yield started


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, server_folder: Path, server: EmbeddedServer) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("walk")
    # The server's own passwords, which it sets again when it is started again.
    shutil.copy(server_folder / FILE_NAME, folder / "users.json")
    with walking(folder, server.url) as running:
        running.processes.start(flower(running))
        yield running


def page(walk: Walk, path: str) -> str:
    """A page of Flower; empty if there is none."""
    ready = next(line for line in walk.lines if "Flower is ready at" in line)
    address = ready.partition("Flower is ready at ")[2].split('"')[0]
    try:
        with urllib.request.urlopen(address + path, timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == HTTPStatus.NOT_FOUND
            return ""


def page_of_worker(walk: Walk) -> str:
    """That of a worker, with its tools: Flower asks each worker about itself, and may have to ask again."""
    path, tool = "/worker/shell@test", "tools.shell.run_command"
    wait_until(lambda: tool in page(walk, path), "Flower knows the worker's tools", timeout_seconds=BOUND)
    return page(walk, path)


def done(walk: Walk, prompt: str) -> None:
    output = walk.client.submit("ops", prompt).wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED, output.error


def test_a_whole_walk_under_flowers_eyes(walk: Walk, server: EmbeddedServer) -> None:
    with nobody_refused(server.url):
        done(walk, "Everything at once")
        wait_until(lambda: 'task="agents.ops"' in page(walk, "/metrics"), "Flower has heard of the run")
        page_of_worker(walk)
        wait_until(lambda: "tools.python" in page(walk, "/broker"), "Flower lists the queues")
    with connect(server.url) as owner:
        assert owner.keys("unacked*") == []


def test_a_dead_worker_and_the_sweep(walk: Walk, server: EmbeddedServer) -> None:
    with nobody_refused(server.url):
        run = walk.client.submit("ops", "Run sleep 30; echo done")
        next(event for event in run.events(timeout=BOUND) if event.event == "ToolCallExecuting")
        kill(walk, "shell")
        walk.processes.start(tool_worker(walk, "shell", name="shell"))
        (call,) = run.wait(timeout=BOUND).tools
        assert call.outcome is CallOutcome.LOST


def test_the_doctor_sees_all_that_it_looks_at(walk: Walk, server: EmbeddedServer) -> None:
    with nobody_refused(server.url), connect(url_of(walk.settings, OPERATOR)) as connection:
        findings = server_findings(connection)
        assert {finding.level for finding in findings} == {Level.OK}, findings
        settings = resolved(walk.settings, OPERATOR)
        everything = {*agents_queues(), *pool_queues("shell"), *pool_queues("python")}
        # A busy machine's workers do not always answer in time.
        wait_until(lambda: set(ask_consumers(settings)) == everything, "all are seen", timeout_seconds=BOUND)


def test_old_bindings_are_cleared_away(walk: Walk, server: EmbeddedServer) -> None:
    """What Kombu does only after an hour, as the user that will have to do it then."""
    with nobody_refused(server.url), connect(server.url) as owner:
        app = tool_app(resolved(walk.settings, pool_user("shell")), "shell")
        with app.connection_for_read() as connection:
            channel = connection.default_channel
            owner.sadd("_kombu.binding.long.gone", "x")
            owner.zadd("_kombu.binding_deadlines", {"long.gone": 1})
            assert channel.sweep_bindings() == 1
            assert not owner.exists("_kombu.binding.long.gone")
        app.close()


def test_workers_answer_questions_and_take_no_order_but_to_leave(walk: Walk, server: EmbeddedServer) -> None:
    """Whoever may look on may publish to all workers, so what they do at that is up to them."""
    pids = walk.processes.pids()
    app = watching_app(resolved(walk.settings, FLOWER))
    with app.connection_for_write() as connection:
        for order, arguments in {
            "cancel_consumer": {"queue": "agents"},
            "pool_shrink": {"n": 1},
            "hello": {"from_node": "x", "revoked": ["y"]},
            "revoke": {"task_id": "z"},
        }.items():
            said = app.control.broadcast(
                order, arguments=arguments, connection=connection, reply=True, timeout=BOUND, limit=3
            )
            assert {name for answer in said for name in answer} == {"agents@test", "shell@test", "python@test"}
            assert all("take no order" in words["error"] for answer in said for words in answer.values()), said
        answers = app.control.inspect(timeout=BOUND, limit=3, connection=connection).ping()
    app.close()
    assert set(answers) == {"agents@test", "shell@test", "python@test"}
    done(walk, "Run echo undisturbed")
    assert walk.processes.pids() == pids


def test_flower_bears_false_events(walk: Walk, server: EmbeddedServer) -> None:
    """A pool may tell events, and so it may tell nonsense."""
    with connect(url_of(walk.settings, pool_user("shell"))) as pool:
        address = {"delivery_tag": "x", "delivery_info": {"exchange": "celeryev", "routing_key": "x"}}
        for junk in (
            "junk",
            "[]",
            "7",
            "{}",
            '{"properties": {}}',
            "[" * 50_000,
            json.dumps({"body": "{}", "content-type": "application/json", "properties": address}),
            json.dumps({"body": "x", "content-type": "application/x-python-serialize", "properties": address}),
        ):
            pool.publish("/0.celeryev/worker.heartbeat", junk)
    assert 'task="agents.careful"' not in page(walk, "/metrics")
    walk.client.submit("careful", "Ask after the junk").wait(timeout=BOUND, until="paused")
    wait_until(lambda: 'task="agents.careful"' in page(walk, "/metrics"), "Flower still hears")


def test_a_restarted_server_lets_everybody_in_again(walk: Walk, server: EmbeddedServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive, "the server is gone")
    server.revive()
    with nobody_refused(server.url):
        done(walk, "Run echo back again")


def test_each_process_is_the_user_that_it_should_be(walk: Walk, server: EmbeddedServer) -> None:
    expected = {"errandry-admin", AGENTS, pool_user("shell"), pool_user("python"), FLOWER, "errandry-producer"}
    with connect(server.url) as owner:
        # Flower connects now and then.
        wait_until(lambda: {str(client["user"]) for client in owner.client_list()} == expected, "all are there")


def test_no_password_is_told(walk: Walk, server: EmbeddedServer) -> None:
    passwords, shown = Path(walk.settings.redis_users_file or "").read_text(), page_of_worker(walk)
    for secret in re.findall(r'": "([^"]+)"', passwords):
        assert not [line for line in walk.lines if secret in line]
        assert secret not in shown
