"""The whole walk as a program in another language has it: everything over HTTP, with real workers behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import pytest

from queues import keys
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.gateways import Served, read_frames, serving
from tests.support.redis_users import nobody_refused
from tests.support.waiting import wait_until
from tests.support.walking import Walk, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@dataclass(frozen=True)
class Desk:
    """The gateway of a walk, and whoever asks it."""

    client: httpx2.Client
    served: Served
    walk: Walk


@pytest.fixture(scope="module")
def desk(cleared_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    url = cleared_server.url
    with (
        nobody_refused(url),
        walking(tmp_path_factory.mktemp("walk"), url) as walk,
        serving(walk.settings) as served,
        served.asking() as client,
    ):
        yield Desk(client, served, walk)


def submitted(desk: Desk, agent: str, text: str) -> str:
    answer = desk.client.post("/v1/runs", json={"agent": agent, "input": text})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["run_id"])


@contextmanager
def followed(desk: Desk, run_id: str, after: str | None = None) -> Iterator[Iterator[dict[str, str]]]:
    headers = {"Last-Event-ID": after} if after else {}
    with desk.client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        yield (frame for frame in read_frames(answer.iter_lines()) if "event" in frame)


def test_a_run_with_calls_of_two_pools_is_followed_to_its_end(desk: Desk) -> None:
    run_id = submitted(desk, "ops", "Everything at once")
    with followed(desk, run_id) as frames:
        first = next(frames)
        assert first["event"] == "RunStarted"
    # The reader has gone, and comes back.
    with followed(desk, run_id, after=first["id"]) as frames:
        rest = [(frame["event"], json.loads(frame["data"])) for frame in frames]
    names = [name for name, _ in rest]
    assert "RunStarted" not in names and names[-1] == "RunCompleted" and names.count("ToolCallCompleted") == 3
    assert {told["pool"] for name, told in rest if name == "ToolCallExecuting"} == {"shell", "python"}
    output = desk.client.get(f"/v1/runs/{run_id}/wait").json()
    assert output["status"] == "COMPLETED" and "from the shell" in output["content"]
    assert output == desk.client.get(f"/v1/runs/{run_id}/output").json()
    assert desk.client.get("/v1/runs", params={"agent": "ops"}).json()["runs"][0]["run_id"] == run_id


def test_a_person_answers_and_the_run_goes_on(desk: Desk) -> None:
    run_id = submitted(desk, "careful", "Delete everything")
    paused = desk.client.get(f"/v1/runs/{run_id}/wait?until=paused&timeout=60").json()
    assert paused["status"] == "PAUSED"
    (call,) = desk.client.get(f"/v1/runs/{run_id}/pending").json()["calls"]
    path = f"/v1/runs/{run_id}/calls/{call['tool_call_id']}"
    assert desk.client.post(f"{path}/settle", json={"result": "x"}).status_code == 422
    assert desk.client.post(f"{path}/confirm", json={"approved": True, "answered_by": "Ann"}).status_code == 200
    done = desk.client.get(f"/v1/runs/{run_id}/wait?timeout=60")
    assert (done.status_code, done.json()["status"]) == (200, "COMPLETED")
    (settled,) = done.json()["tools"]
    assert (settled["confirmed"], settled["answered_by"], settled["result"]) == (True, "Ann", "deleted everything")
    assert desk.client.post(f"{path}/confirm", json={"approved": False}).status_code == 409


def test_a_run_is_cancelled_while_its_call_executes(desk: Desk) -> None:
    run_id = submitted(desk, "ops", "Run sleep 600")
    with followed(desk, run_id) as frames:
        assert any(frame["event"] == "ToolCallExecuting" for frame in frames)
        cancelled = desk.client.post(f"/v1/runs/{run_id}/cancel", json={"reason": "enough"}).json()
        assert cancelled == {"run_id": run_id, "cancelled": True}
        assert [frame["event"] for frame in frames][-1] == "RunCancelled"
    assert desk.client.get(f"/v1/runs/{run_id}").json()["status"] == "CANCELLED"
    assert desk.client.post(f"/v1/runs/{run_id}/retry").status_code == 409


def test_a_failed_run_goes_on_where_it_stopped(desk: Desk, embedded_server: EmbeddedServer) -> None:
    new = {"agent": "careful", "input": "Ask when", "deadline_seconds": 1000}
    run_id = desk.client.post("/v1/runs", json=new).json()["run_id"]
    assert desk.client.get(f"/v1/runs/{run_id}/wait?until=paused&timeout=60").json()["status"] == "PAUSED"
    with connect(embedded_server.url) as owner:
        owner.zadd(keys.DEADLINES, {run_id: 1})  # the deadline has passed
    failed = desk.client.get(f"/v1/runs/{run_id}/wait?timeout=60").json()
    assert (failed["status"], "expired" in failed["error"]) == ("ERROR", True), failed
    with followed(desk, run_id) as frames:
        last = list(frames)[-1]
    assert last["event"] == "RunError"
    assert desk.client.post(f"/v1/runs/{run_id}/retry").status_code == 200
    with followed(desk, run_id, after=last["id"]) as frames:
        again = [frame["event"] for frame in frames]
    assert again[-1] == "RunCompleted" and "RunStarted" not in again
    (call,) = desk.client.get(f"/v1/runs/{run_id}/output").json()["tools"]
    assert call["outcome"] == "expired"


def test_what_is_on_offer_is_told(desk: Desk) -> None:
    assert desk.client.get("/v1/agents").json()["agents"] == ["careful", "ops"]
    wait_until(lambda: len(desk.client.get("/v1/pools").json()["pools"]) == 2, "both pools are known")
    pools = {pool["name"]: pool for pool in desk.client.get("/v1/pools").json()["pools"]}
    assert "run_command" in pools["shell"]["tools"] and len(pools["python"]["workers"]) == 1
    unknown = desk.client.post("/v1/runs", json={"agent": "nobody", "input": "x"})
    assert unknown.status_code == 422 and "careful, ops" in unknown.json()["detail"]
