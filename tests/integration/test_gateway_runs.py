"""Runs over HTTP: submit, look, list, wait, cancel, retry, and every way to ask wrongly."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis

from queues.embedded import EmbeddedServer
from queues.redis_url import project_roles
from queues.settings import Settings
from tests.support.gateways import Served, Story, project, serving
from tests.support.queue_floor import Floor
from tests.support.redis_users import nobody_refused
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

NEW = {"agent": "ops", "input": "hello"}
DEEP = "[" * 5000 + "]" * 5000


@pytest.fixture
def served(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    with nobody_refused(redis_url), serving(project(tmp_path, redis_url, gateway={"max_body_kb": 64})) as found:
        yield found


def submit(client: httpx2.Client, **more: object) -> str:
    answer = client.post("/v1/runs", json={**NEW, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["run_id"])


def test_a_run_is_submitted_looked_at_and_cancelled(client: httpx2.Client) -> None:
    new = {
        **NEW,
        "session_id": "s",
        "user_id": "u",
        "priority": "high",
        "deadline_seconds": 600,
        "metadata": {"a": [1]},
    }
    answer = client.post("/v1/runs", json=new)
    run_id = answer.json()["run_id"]
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/runs/{run_id}")
    seen = client.get(answer.headers["location"]).json()
    assert (seen["status"], seen["agent_name"], seen["session_id"], seen["user_id"]) == ("PENDING", "ops", "s", "u")
    assert (seen["input"], seen["metadata"]) == ("hello", {"a": [1]})
    assert client.get(f"/v1/runs/{run_id}/output").json()["messages"] == []
    why = {"reason": "no longer wanted"}
    assert client.post(f"/v1/runs/{run_id}/cancel", json=why).json() == {"run_id": run_id, "cancelled": True}
    assert client.post(f"/v1/runs/{run_id}/cancel").json() == {"run_id": run_id, "cancelled": False}
    ended = client.get(f"/v1/runs/{run_id}").json()
    assert ended["status"] == "CANCELLED" and "no longer wanted" in ended["error"]


def test_one_key_gives_one_run(client: httpx2.Client) -> None:
    first = client.post("/v1/runs", json=NEW, headers={"Idempotency-Key": "k 1"})
    assert first.status_code == 201
    for spelt in ("k 1", '"k 1"'):
        again = client.post("/v1/runs", json=NEW, headers={"Idempotency-Key": spelt})
        assert (again.status_code, again.json()) == (200, first.json())
        assert again.headers["location"] == first.headers["location"]
    other = client.post("/v1/runs", json={**NEW, "input": "else"}, headers={"Idempotency-Key": "k 1"})
    assert other.status_code == 409 and other.json()["type"] == "urn:errandry:problem:idempotency-conflict"
    assert client.post("/v1/runs", json=NEW, headers={"Idempotency-Key": '""'}).status_code == 422
    assert len(client.get("/v1/runs").json()["runs"]) == 1


def test_runs_are_listed_page_by_page(client: httpx2.Client, redis_url: str) -> None:
    made = [submit(client, agent="ops" if number % 2 else "other") for number in range(7)]
    seen, before = list[str](), None
    while True:
        page = client.get("/v1/runs", params={"limit": 3, **({"before": before} if before else {})}).json()
        seen += [run["run_id"] for run in page["runs"]]
        before = page["next"]
        if before is None:
            break
    assert seen == made[::-1]
    client.post(f"/v1/runs/{made[0]}/cancel")
    assert [run["run_id"] for run in client.get("/v1/runs?agent=ops").json()["runs"]] == made[1::2][::-1]
    assert [run["run_id"] for run in client.get("/v1/runs?status=CANCELLED&limit=1").json()["runs"]] == [made[0]]
    assert client.get("/v1/runs?agent=nobody").json() == {"runs": [], "next": None}


def test_waiting_ends_with_the_run_or_with_the_time(client: httpx2.Client, redis_connection: redis.Redis) -> None:
    run_id = submit(client)
    going = client.get(f"/v1/runs/{run_id}/wait?timeout=0.05")
    assert (going.status_code, going.json()["status"]) == (202, "PENDING")
    story, found = Story(Floor(redis_connection), run_id), list[httpx2.Response]()
    waiting = threading.Thread(target=lambda: found.append(client.get(f"/v1/runs/{run_id}/wait?timeout=50")))
    waiting.start()
    story.tells("so far")
    story.ends("all done")
    waiting.join(60)
    assert (found[0].status_code, found[0].json()["status"], found[0].json()["content"]) == (
        200,
        "COMPLETED",
        "all done",
    )
    assert client.get(f"/v1/runs/{run_id}/wait").status_code == 200


def test_a_caller_who_leaves_is_waited_for_no_longer(served: Served, client: httpx2.Client) -> None:
    run_id = submit(client)
    with served.asking() as impatient:
        impatient.timeout = httpx2.Timeout(0.5)
        with pytest.raises(httpx2.ReadTimeout):
            impatient.get(f"/v1/runs/{run_id}/wait?timeout=60")
    wait_until(lambda: not served.server.server_state.tasks, "the request is over", timeout_seconds=20)


def test_a_failed_run_is_retried_and_no_other(client: httpx2.Client, redis_connection: redis.Redis) -> None:
    run_id = submit(client)
    refused = client.post(f"/v1/runs/{run_id}/retry")
    assert refused.status_code == 409 and "only a run that ended in ERROR" in refused.json()["detail"]
    late, floor = submit(client, deadline_seconds=0.001), Floor(redis_connection)
    wait_until(lambda: late in floor.repairs.due_deadlines(limit=10), "the deadline has passed")
    assert floor.repairs.expire(late) == "expired"
    assert client.get(f"/v1/runs/{late}").json()["status"] == "ERROR"
    assert client.post(f"/v1/runs/{late}/retry").json() == {"run_id": late, "status": "PENDING"}


@pytest.mark.parametrize("path", ["", "/output", "/wait", "/events", "/pending"])
def test_an_unknown_run_is_not_found(client: httpx2.Client, path: str) -> None:
    answer = client.get(f"/v1/runs/run_nobody{path}")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:errandry:problem:run-not-found")
    assert "run_nobody" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 422, "body"),
        (b"{", 400, "body"),
        (b"\xff\xfe", 400, None),
        (b"[]", 422, "body"),
        (b'"text"', 422, "body"),
        (b'{"agent": "ops"}', 422, "body.input"),
        (b'{"agent": 3, "input": "x"}', 422, "body.agent"),
        (b'{"agent": "", "input": "x"}', 422, "body.agent"),
        (b'{"agent": "ops", "input": ["x"]}', 422, "body.input"),
        (b'{"agent": "ops", "input": "\\ud800"}', 422, "body.input"),
        (b'{"agent": "ops", "input": "x", "inptu": "y"}', 422, "body.inptu"),
        (b'{"agent": "ops", "input": "x", "priority": "urgent"}', 422, "body.priority"),
        (b'{"agent": "ops", "input": "x", "deadline_seconds": 0}', 422, "body.deadline_seconds"),
        (b'{"agent": "ops", "input": "x", "deadline_seconds": NaN}', 422, "body.deadline_seconds"),
        (b'{"agent": "ops", "input": "x", "deadline_seconds": 1e300}', 422, "body.deadline_seconds"),
        (b'{"agent": "ops", "input": "x", "metadata": [1]}', 422, "body.metadata"),
        (b'{"agent": "ops", "input": "x", "metadata": {"\\udc00": 1}}', 422, "body.metadata"),
        (b'{"agent": "ops", "input": "x", "metadata": {"a": ' + b"[" * 90 + b"]" * 90 + b"}}", 422, "body.metadata"),
        (b'{"agent": "ops", "input": "x", "metadata": {"a": ' + DEEP.encode() + b"}}", 400, None),
    ],
)  # fmt: skip
def test_a_wrong_body_is_refused_by_its_field(
    client: httpx2.Client, body: bytes, status: int, field: str | None
) -> None:
    answer = client.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    if field is not None:
        assert any(error["field"].startswith(field) for error in answer.json()["errors"]), answer.text
    assert client.get("/v1/runs").json()["runs"] == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_only_json_is_taken(client: httpx2.Client, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = client.post("/v1/runs", content=b'{"agent": "ops", "input": "x"}', headers=headers)
    assert answer.status_code == 415 and "application/json" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/runs?limit=0", "query.limit"),
        ("/v1/runs?limit=x", "query.limit"),
        ("/v1/runs?status=DONE", "query.status"),
        ("/v1/runs/{run}/wait?timeout=61", "query.timeout"),
        ("/v1/runs/{run}/wait?until=never", "query.until"),
        ("/v1/runs/{run}/events?after=x", "query.after"),
        ("/v1/runs/{run}/events?after=0-0,a%0Ab=0-0", "query.after"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(client: httpx2.Client, path: str, field: str) -> None:
    answer = client.get(path.format(run=submit(client)))
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == field


def test_a_body_over_the_limit_is_refused_however_it_comes(client: httpx2.Client) -> None:
    large = b'{"agent": "ops", "input": "' + b"x" * 65 * 1024 + b'"}'
    json_kind = {"Content-Type": "application/json"}
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        for start in range(0, len(large), 4096):
            sent += 1
            yield large[start : start + 4096]

    for content in (large, parts()):
        answer = client.post("/v1/runs", content=content, headers=json_kind)
        assert answer.status_code == 413 and "64 kB" in answer.json()["detail"], answer.text
    assert sent > 1
    within = large[: 60 * 1024] + b'"}'
    assert client.post("/v1/runs", content=within, headers=json_kind).status_code == 201
    # A length that is announced and not true changes nothing.
    assert len(client.get("/v1/runs").json()["runs"]) == 1


def test_unknown_routes_and_methods_are_problems_too(client: httpx2.Client) -> None:
    for path in ("/nothing", "/v1", "/v1/runs/", "/v1/runs/x/nothing", "/v1//runs", "/docs", "/redoc"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
    for method, path, allowed in (("DELETE", "/v1/runs", "GET, POST"), ("PUT", "/v1/runs/x", "GET")):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_agent_that_nobody_offers_is_named(client: httpx2.Client, redis_connection: redis.Redis) -> None:
    Floor(redis_connection).claims.announce(["billing"], valid_seconds=600)
    answer = client.post("/v1/runs", json=NEW)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == "body.agent"
    assert "billing" in answer.json()["detail"]
    assert client.get("/v1/agents").json()["agents"] == ["billing"]


def test_a_store_that_is_away_is_said_so_without_its_address(tmp_path: Path) -> None:
    settings = Settings(project_dir=tmp_path)
    with (
        EmbeddedServer.start(settings.state_dir, roles=project_roles(settings)) as server,
        serving(settings) as served,
        served.asking() as client,
    ):
        told_of_an_outage(server, client)


def told_of_an_outage(server: EmbeddedServer, client: httpx2.Client) -> None:
    run_id = submit(client)

    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive, "the server has died")
    try:
        for answer in (client.get(f"/v1/runs/{run_id}"), client.post("/v1/runs", json=NEW), client.get("/ready")):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2"), answer.text
            assert "127.0.0.1" not in answer.text and "redis" not in answer.text.lower()
        assert client.get("/health").status_code == 200
        assert "errandry_store_up 0.0" in client.get("/metrics").text
    finally:
        server.revive()
    wait_until(lambda: client.get("/ready").status_code == 200, "the gateway is ready again", timeout_seconds=30)
    assert client.get(f"/v1/runs/{run_id}").json()["status"] == "PENDING"
