"""What may be done in Flower, by whom: a worker is drained by whoever has the password, and nothing else is ordered."""

from __future__ import annotations

import os
from http import HTTPStatus

import pytest
from kombu.exceptions import OperationalError

from agent_core.run import RunStatus
from queues.acl import AGENTS, GATEWAY, PRODUCER, pool_user
from queues.celery_app import watching_app
from queues.redis_url import resolved
from tests.support.waiting import wait_until
from tests.support.walking import tool_worker
from tests.support.watched import BOUND, LOGIN, Watched, flower_of

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]

REFUSED = {
    "/api/worker/pool/grow/shell@test": "set concurrency in errandry.toml",
    "/api/worker/pool/shrink/shell@test": "set concurrency in errandry.toml",
    "/api/worker/pool/restart/shell@test": "set concurrency in errandry.toml",
    "/api/worker/pool/autoscale/shell@test?min=1&max=2": "set concurrency in errandry.toml",
    "/api/worker/queue/add-consumer/shell@test?queue=x": "set concurrency in errandry.toml",
    "/api/worker/queue/cancel-consumer/shell@test?queue=tools.shell": "set concurrency in errandry.toml",
    "/api/task/revoke/run_1": "`errandry cancel RUN`",
    "/api/task/abort/run_1": "`errandry cancel RUN`",
    "/api/task/timeout/tools.shell.run_command?workername=shell@test": "set wall_seconds",
    "/api/task/rate-limit/tools.shell.run_command?workername=shell@test": "set wall_seconds",
    "/api/task/apply/agents.ops": "`errandry submit AGENT INPUT`",
    "/api/task/async-apply/agents.ops": "`errandry submit AGENT INPUT`",
    "/api/task/send-task/agents.ops": "`errandry submit AGENT INPUT`",
}
ELSEWHERE = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}


def restarted(watched: Watched, **environment: str) -> Watched:
    """The same project under another Flower, instead of the one before."""
    pid = watched.walk.processes.pids().get("flower")
    if pid is not None:
        os.kill(pid, 15)
        wait_until(lambda: "flower" not in watched.walk.processes.pids(), "Flower has left", timeout_seconds=BOUND)
    other = Watched(watched.walk, flower_of(watched.walk, **environment))
    other.start()
    wait_until(lambda: "shell@test" in other.get("/metrics").text, "it hears the workers", timeout_seconds=BOUND)
    return other


def test_shutting_a_worker_down_drains_it(watched: Watched) -> None:
    gate = watched.gate("drain-gate")
    pids = watched.walk.processes.pids()
    run = watched.submit(f"Wait for {gate}")
    watched.comes_to(lambda: watched.call(run, "wait_for"), state="STARTED")
    shell = watched.walk.processes._children["shell"]
    told = watched.post("/api/worker/shutdown/shell@test")
    assert (told.status_code, told.json()) == (HTTPStatus.OK, {"message": "Shutting down!"})
    wait_until(
        lambda: any("Got shutdown from remote" in line for line in watched.walk.lines),
        "it heard",
        timeout_seconds=BOUND,
    )
    gate.touch()
    assert run.wait(timeout=BOUND).status is RunStatus.COMPLETED
    assert run.output().tools[0].outcome == "succeeded"
    assert shell.ended.wait(BOUND) and shell.how_it_ended() == "ended with status 0"
    wait_until(lambda: not watched.workers().get("shell@test", {}).get("status"), "it is gone", timeout_seconds=BOUND)
    assert {name: pid for name, pid in watched.walk.processes.pids().items() if name != "shell"} == {
        name: pid for name, pid in pids.items() if name != "shell"
    }
    watched.walk.processes.start(tool_worker(watched.walk, "shell", name="shell"))
    assert watched.done("Run echo back").output().status is RunStatus.COMPLETED
    watched.comes_to(lambda: watched.call(run, "wait_for"), state="SUCCESS", result="succeeded")


def test_all_other_orders_are_refused_with_the_way_to_go(watched: Watched) -> None:
    for path, words in REFUSED.items():
        refused = watched.post(path)
        assert refused.status_code == HTTPStatus.FORBIDDEN and words in refused.text, path
        assert watched.post(path, auth=None).status_code == HTTPStatus.UNAUTHORIZED, path
    assert watched.done("Run echo undisturbed").output().status is RunStatus.COMPLETED


def test_orders_want_the_password_and_no_other_sites_page(watched: Watched) -> None:
    path, pids = "/api/worker/shutdown/shell@test", watched.walk.processes.pids()
    for login in (None, ("ada", "wrong"), ("eve", LOGIN[1])):
        assert watched.post(path, auth=login).status_code == HTTPStatus.UNAUTHORIZED
        for page in ("/", "/tasks", "/worker/shell@test", "/api/tasks", "/api/workers", "/metrics"):
            assert watched.get(page, auth=login).status_code == HTTPStatus.UNAUTHORIZED, page
    # A browser sends the password along by itself, also where another site's page has it ask.
    assert watched.post(path, headers=ELSEWHERE).status_code == HTTPStatus.FORBIDDEN
    assert watched.post(path, headers={"Origin": "https://elsewhere.example"}).status_code == HTTPStatus.FORBIDDEN
    assert watched.done("Run echo still here").output().status is RunStatus.COMPLETED
    assert watched.walk.processes.pids() == pids


def test_nobody_but_flower_and_the_operator_may_send_it(watched: Watched) -> None:
    pids = watched.walk.processes.pids()
    for user in (pool_user("shell"), pool_user("python"), AGENTS, PRODUCER, GATEWAY):
        app = watching_app(resolved(watched.walk.settings, user))
        with app.connection_for_write() as connection, pytest.raises(OperationalError, match=r"(?i)no permissions"):
            app.control.shutdown(destination=["python@test"], connection=connection)
        app.close()
    assert watched.walk.processes.pids() == pids


def test_without_a_password_pages_are_for_this_machine_and_orders_for_nobody(watched: Watched) -> None:
    pids = {name: pid for name, pid in watched.walk.processes.pids().items() if name != "flower"}
    plain = restarted(watched, FLOWER_BASIC_AUTH="")
    assert plain.get("/tasks", auth=None).status_code == HTTPStatus.OK
    for path in ("/api/worker/shutdown/shell@test", *REFUSED):
        assert plain.post(path, auth=None).status_code == HTTPStatus.UNAUTHORIZED, path
    assert "worker-shutdown" not in plain.get("/worker/shell@test", auth=None).text, "what would fail is not offered"
    for headers in (ELSEWHERE, {"Host": "elsewhere.example:80"}, {"Origin": "https://elsewhere.example"}):
        for path in ("/", "/tasks/datatable?draw=1&start=0&length=9&order[0][column]=0", "/metrics", "/healthcheck"):
            refused = plain.get(path, auth=None, headers=headers)
            assert refused.status_code == HTTPStatus.FORBIDDEN, (path, headers)
            assert "this machine's own programs only" in refused.text
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert plain.get("/tasks", auth=None, headers=followed).status_code == HTTPStatus.OK, "a link to it may be followed"

    opened = restarted(watched, FLOWER_BASIC_AUTH="", FLOWER_UNAUTHENTICATED_API="true")
    path = "/api/worker/shutdown/shell@test"
    for headers in (ELSEWHERE, {"Host": "elsewhere.example:80"}, {"Origin": "https://elsewhere.example"}):
        refused = opened.post(path, auth=None, headers=headers)
        assert refused.status_code == HTTPStatus.FORBIDDEN and "Access-Control-Allow-Origin" not in refused.headers
    assert opened.get("/api/tasks", auth=None).status_code == HTTPStatus.OK
    assert {name: pid for name, pid in watched.walk.processes.pids().items() if name != "flower"} == pids
