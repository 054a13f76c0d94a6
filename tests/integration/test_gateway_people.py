"""Answers of people over HTTP: what a run waits for, what is taken, what is refused, and who is on record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from agent_core.tools.execution import ToolExecution, UserInputField
from tests.support.gateways import Served, project, serving
from tests.support.queue_floor import Floor, external
from tests.support.redis_users import nobody_refused

pytestmark = pytest.mark.redis


@pytest.fixture
def served(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    with nobody_refused(redis_url), serving(project(tmp_path, redis_url), keys=True) as found:
        yield found


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    with served.asking("all") as asking:
        yield asking


def confirming(call_id: str) -> ToolExecution:
    return ToolExecution(tool_call_id=call_id, tool_name="look_up", step=1, requires_confirmation=True)


def asking(call_id: str) -> ToolExecution:
    schema = [
        UserInputField(name="key", field_type="str"),
        UserInputField(name="more", field_type="str", required=False),
    ]
    return ToolExecution(
        tool_call_id=call_id, tool_name="look_up", step=1, requires_user_input=True, user_input_schema=schema
    )


def answer_of(floor: Floor, run_id: str, call_id: str) -> str:
    return str(floor.connection.hget(f"errandry:people:{{{run_id}}}:1", f"answer:{call_id}"))


def test_each_kind_of_answer_is_stored_with_who_gave_it(client: httpx2.Client, floor: Floor) -> None:
    run = floor.paused(external("a", pool=None), confirming("b"), asking("c/d"))
    calls = f"/v1/runs/{run.run_id}/calls"
    pending = client.get(f"/v1/runs/{run.run_id}/pending").json()["calls"]
    assert [call["tool_call_id"] for call in pending] == ["a", "b", "c/d"]
    settled = client.post(f"{calls}/a/settle", json={"result": {"x": [1, None]}, "answered_by": "Ann"})
    assert settled.json() == {"run_id": run.run_id, "tool_call_id": "a", "answered_by": "Ann (key all)"}
    assert client.post(f"{calls}/b/confirm", json={"approved": False, "note": "not today"}).status_code == 200
    # An id may hold anything that a provider puts into it.
    assert client.post(f"{calls}/c/d/input", json={"values": {"key": "k"}}).status_code == 200
    assert client.get(f"/v1/runs/{run.run_id}/pending").json()["calls"] == []
    answers = [answer_of(floor, run.run_id, call_id) for call_id in ("a", "b", "c/d")]
    assert '{\\"x\\":[1,null]}' in answers[0] and "not today" in answers[1] and '"key":"k"' in answers[2]
    assert "Ann (key all)" in answers[0] and "key all" in answers[1] and "answered_at" in answers[2]
    assert floor.continuations() == 1


def test_the_first_answer_stands(client: httpx2.Client, floor: Floor) -> None:
    run = floor.paused(external("a", pool=None), confirming("b"))
    path = f"/v1/runs/{run.run_id}/calls/a/settle"
    assert client.post(path, json={"result": "first"}).status_code == 200
    # A caller who did not hear the reply may say the same again; another answer, or another's, is not taken.
    assert client.post(path, json={"result": "first"}).status_code == 200
    for again in ({"result": "second"}, {"error": "third"}, {"result": "first", "answered_by": "Ann"}):
        refused = client.post(path, json=again)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:errandry:problem:already-answered")
    assert '"first"' in answer_of(floor, run.run_id, "a")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("a/settle", {}, 422, "give either result or error"),
        ("a/settle", {"result": 1, "error": "x"}, 422, "give either result or error"),
        ("a/settle", {"error": 3}, 422, "body.error"),
        ("a/settle", {"result": "\ud800"}, 422, "lone surrogate"),
        ("a/confirm", {"approved": True}, 422, "does not ask for confirmation"),
        ("a/input", {"values": {}}, 422, "does not ask for input"),
        ("b/confirm", {}, 422, "body.approved"),
        ("b/confirm", {"approved": "perhaps"}, 422, "body.approved"),
        ("b/settle", {"result": 1}, 422, "waits for a person"),
        ("c/input", {"values": {}}, 422, "also needs key"),
        ("c/input", {"values": {"key": "k", "other": 1}}, 422, "not for other"),
        ("c/input", {"values": []}, 422, "body.values"),
        ("p/settle", {"result": 1}, 422, "is executed by pool shell"),
        ("nobody/settle", {"result": 1}, 404, "it waits for: a, b, c, p"),
        ("nobody/confirm", {"approved": True}, 404, "does not wait for call 'nobody'"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    client: httpx2.Client, floor: Floor, path: str, body: dict[str, object], status: int, words: str
) -> None:
    run = floor.paused(external("a", pool=None), confirming("b"), asking("c"), external("p"))
    content = json.dumps(body)
    refused = client.post(
        f"/v1/runs/{run.run_id}/calls/{path}", content=content, headers={"Content-Type": "application/json"}
    )
    assert (refused.status_code, words in refused.json()["detail"]) == (status, True), refused.text
    assert len(client.get(f"/v1/runs/{run.run_id}/pending").json()["calls"]) == 4


def test_answers_to_a_run_that_is_over_are_refused(client: httpx2.Client, floor: Floor) -> None:
    run = floor.paused(external("a", pool=None))
    client.post(f"/v1/runs/{run.run_id}/cancel")
    late = client.post(f"/v1/runs/{run.run_id}/calls/a/settle", json={"result": 1})
    assert late.status_code == 409, late.text
    unknown = client.post("/v1/runs/run_x/calls/a/settle", json={"result": 1})
    assert unknown.json()["type"] == "urn:errandry:problem:run-not-found"
