"""Executors without Redis: they claim, keep, settle and give back calls of their pool over HTTP, at a real gateway."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis

from agent_core.tools.execution import CallOutcome, CallResult, ToolExecution
from queues import keys
from queues.announcements import announced
from queues.claims import ClaimedRun
from queues.client import Client
from queues.embedded import EmbeddedServer
from queues.errors import CallFailedError
from queues.refusals import collect
from queues.topology import pool_queue
from tests.support.blocked import blocked
from tests.support.gateways import Served, project, serving
from tests.support.queue_floor import Floor, external
from tests.support.redis_users import let_in, nobody_refused
from tests.support.waiting import wait_until
from workers.gateway.api_keys import create_key

pytestmark = pytest.mark.redis

Call = dict[str, Any]
POOLS = {
    "remote": {"tools": ["t:look_up"], "served_by": "http", "sandbox": {"output_kb": 1, "wall_seconds": 20}},
    "other": {"tools": ["t:other"], "served_by": "http"},
    "guarded": {"tools": ["t:guarded"], "served_by": "http", "approval": True},
    "shell": {"tools": ["t:run"]},
}


@pytest.fixture
def served(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    with nobody_refused(redis_url), serving(project(tmp_path, redis_url, pools=POOLS)) as found:
        yield found


def remote(tool_call_id: str = "a") -> ToolExecution:
    return external(tool_call_id, pool="remote")


def claim(client: httpx2.Client, *, wait_seconds: float = 30, executor: str = "laptop:1") -> Call:
    answer = client.post("/v1/pools/remote/claim", json={"executor": executor, "wait_seconds": wait_seconds})
    assert answer.status_code == 200, answer.text
    found: Call = answer.json()
    return found


def nothing_there(client: httpx2.Client) -> bool:
    answer = client.post("/v1/pools/remote/claim", json={"executor": "laptop:9", "wait_seconds": 0})
    assert answer.status_code in (200, 204), answer.text
    return answer.status_code == 204


def say(client: httpx2.Client, call: Call, verb: str, **more: object) -> httpx2.Response:
    return client.post(f"{call['path']}/{verb}", json={"lease": call["lease"], **more})


def settle(client: httpx2.Client, call: Call, content: object = "found", outcome: str = "succeeded") -> httpx2.Response:
    return say(client, call, "settle", outcome=outcome, content=content)


def answer_of(floor: Floor, call: Call) -> CallResult:
    part = keys.part("remote", call["run_id"], call["step"])
    stored = floor.connection.hget(part, f"answer:{call['tool_call_id']}")
    return CallResult.model_validate_json(str(stored))


def queued(floor: Floor) -> int:
    return int(floor.connection.llen(pool_queue("remote")))


# --- the way of a call -------------------------------------------------------------------------------------------


def test_a_call_is_claimed_kept_and_settled(client: httpx2.Client, floor: Floor) -> None:
    run = floor.paused(remote(), timeout_seconds=7)
    call = claim(client)
    assert (call["run_id"], call["step"], call["tool_call_id"]) == (run.run_id, 1, "a")
    assert (call["tool_name"], call["arguments"], call["attempt"]) == ("look_up", {"key": "x"}, 1)
    assert call["idempotency_key"] == f"{run.run_id}:1:a"
    assert (call["timeout_seconds"], call["lease_seconds"]) == (7, 10)
    assert say(client, call, "heartbeat").json() == {"standing": "held", "lease_seconds": 10}
    answer = say(
        client,
        call,
        "settle",
        outcome="succeeded",
        content={"n": [1, "é"]},
        metrics={"wall_seconds": 0.5, "exit_code": 0},
    )
    assert (answer.status_code, answer.json()) == (200, {"verdict": "settled"})
    stored = answer_of(floor, call)
    assert (stored.outcome, stored.content) == (CallOutcome.SUCCEEDED, '{"n":[1,"é"]}')
    metrics = stored.metrics
    assert (metrics.pool, metrics.worker, metrics.attempt) == ("remote", "laptop:1", 1)
    assert (metrics.wall_seconds, metrics.exit_code, metrics.sandbox_level) == (0.5, 0, "external")
    assert metrics.queue_wait_seconds is not None and metrics.queue_wait_seconds >= 0
    assert floor.continuations() == 1
    told = [json.loads(entry["event"]) for _, entry in entries(floor, run)]
    assert [event["event"] for event in told] == ["ToolCallExecuting", "ToolCallSettled"]
    assert {event["worker"] for event in told} == {"laptop:1"}


def entries(floor: Floor, run: ClaimedRun) -> list[tuple[str, dict[str, str]]]:
    found: Any = floor.connection.xrange(keys.part_events("remote", run.run_id))
    return list(found)


def test_an_executor_that_measures_nothing_is_measured(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote())
    call = claim(client)
    assert settle(client, call).status_code == 200
    wall_seconds = answer_of(floor, call).metrics.wall_seconds
    assert wall_seconds is not None and 0 <= wall_seconds < 60


def test_a_call_that_comes_later_is_handed_over_at_once(client: httpx2.Client, floor: Floor) -> None:
    found = list[Call]()
    waiting = threading.Thread(target=lambda: found.append(claim(client, wait_seconds=60)))
    waiting.start()
    wait_until(lambda: announced(floor.connection, "remote"), "the executor has asked")
    run = floor.paused(remote())
    waiting.join(30)
    assert found and found[0]["run_id"] == run.run_id


def test_a_call_of_which_nobody_was_asked_is_refused(client: httpx2.Client, floor: Floor, redis_url: str) -> None:
    """Nobody has told this client that the pool asks people first."""
    with Client(redis_url) as producer, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(producer.execute, "guarded", {}, pool="guarded", timeout=60)
        wait_until(lambda: floor.connection.llen(pool_queue("guarded")), "the call is handed out")
        answer = client.post("/v1/pools/guarded/claim", json={"executor": "laptop:1", "wait_seconds": 2})
        assert answer.status_code == 204
        with pytest.raises(CallFailedError, match="nobody was asked"):
            asked.result()


def test_the_urgent_lane_comes_first(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote("slow"))
    urgent = floor.connection.rpop(pool_queue("remote"))
    floor.paused(remote("fast"))
    message = json.loads(str(floor.connection.rpop(pool_queue("remote"))))
    message["properties"]["delivery_info"]["routing_key"] = pool_queue("remote", "high")
    floor.connection.lpush(pool_queue("remote"), str(urgent))
    floor.connection.lpush(pool_queue("remote", "high"), json.dumps(message))
    assert [claim(client)["tool_call_id"] for _ in range(2)] == ["fast", "slow"]


def test_without_a_call_there_is_nothing(client: httpx2.Client, floor: Floor) -> None:
    assert nothing_there(client)
    floor.paused(external("a", pool="other"))
    assert nothing_there(client), "another pool's"


def test_ids_of_any_kind_survive_the_path(client: httpx2.Client, floor: Floor) -> None:
    for odd in ("call/1", "a b", "%2F", "é?#", "x/settle", "...", "call_1:2"):
        floor.paused(remote(odd))
        call = claim(client)
        assert call["tool_call_id"] == odd
        heard = say(client, call, "heartbeat")
        assert heard.status_code == 200 and heard.json()["standing"] == "held", (
            odd,
            heard.text,
            str(heard.request.url),
        )
        assert settle(client, call).json() == {"verdict": "settled"}, odd
        assert answer_of(floor, call).content == "found"


def test_what_is_too_long_is_cut_in_the_middle(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote())
    call = claim(client)
    settle(client, call, "a" * 5000 + "z" * 5000)
    stored = answer_of(floor, call)
    assert stored.metrics.truncated and stored.content.startswith("a" * 512) and stored.content.endswith("z" * 512)
    assert "8976 bytes cut out" in stored.content


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_a_failed_call_is_tried_again_as_workers_do(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote(), max_attempts=2, backoff_seconds=0.01)
    first = claim(client)
    for _ in range(2):  # the answer to the first one was lost on its way
        assert settle(client, first, "no luck", "failed").json() == {"verdict": "retry"}
    assert settle(client, first, "luck after all").json()["verdict"] == "stale", "it is in nobody's hands"
    wait_until(lambda: "pushed" in floor.sweep_calls("remote"), "the next try is due")
    second = claim(client)
    assert second["attempt"] == 2 and second["idempotency_key"] == first["idempotency_key"]
    assert settle(client, second, "never", "timed_out").json() == {"verdict": "settled"}
    assert answer_of(floor, second).outcome is CallOutcome.TIMED_OUT


def test_the_same_answer_again_is_answered_as_the_first_time(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote())
    call = claim(client)
    assert [settle(client, call).json() for _ in range(3)] == [{"verdict": "settled"}] * 3
    assert floor.continuations() == 1
    other = settle(client, call, "something else")
    assert (other.status_code, other.headers["content-type"]) == (409, "application/problem+json")
    assert other.json()["verdict"] == "already" and "first" not in other.json()["detail"]
    assert answer_of(floor, call).content == "found"


def test_a_late_answer_is_refused(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote(), on_lost="retry", max_attempts=3)
    late = claim(client, executor="frozen:1")
    expire(floor, late)
    assert floor.sweep_calls("remote") == ["pushed"]
    assert say(client, late, "heartbeat").json()["standing"] == "lost"
    second = claim(client, executor="second:1")
    assert second["attempt"] == 2 and second["lease"] != late["lease"]
    for verb, more in (("settle", {"outcome": "succeeded", "content": "late"}), ("release", {})):
        refused = say(client, late, verb, **more)
        assert (refused.status_code, refused.json()["verdict"]) == (409, "stale"), verb
    assert say(client, late, "heartbeat").json()["standing"] == "lost"
    assert settle(client, second, "in time").json() == {"verdict": "settled"}
    assert settle(client, late, "late").json()["verdict"] == "already"
    assert answer_of(floor, second).content == "in time"


def expire(floor: Floor, call: Call) -> None:
    """The call's lease has run out."""
    part = keys.part("remote", call["run_id"], call["step"])
    floor.connection.hset(part, f"lease:{call['tool_call_id']}", "1")
    floor.become_due("remote")


def test_a_dead_executor_is_reported_and_not_executed_again(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote())
    call = claim(client)
    expire(floor, call)
    assert floor.sweep_calls("remote") == ["lost"]
    stored = answer_of(floor, call)
    assert (stored.outcome, stored.metrics.worker) == (CallOutcome.LOST, "laptop:1")
    assert settle(client, call).json()["verdict"] == "already"
    assert nothing_there(client)


@pytest.mark.parametrize("lease", ["x", "ek_" + "a" * 43, "W10", "é", "WyJhIiwgImIiLCAxLCAiYyJd", "=" * 40])
def test_a_forged_lease_opens_nothing(client: httpx2.Client, floor: Floor, lease: str) -> None:
    floor.paused(remote())
    call = claim(client)
    forged = {**call, "lease": lease}
    assert say(client, forged, "heartbeat").json()["standing"] == "lost"
    assert settle(client, forged, "forged").json()["verdict"] == "stale"
    assert say(client, forged, "release").json()["verdict"] == "stale"
    part = keys.part("remote", call["run_id"], 1)
    assert floor.connection.hget(part, "refused") == "1", "a forged answer is counted"
    assert settle(client, call, "true").status_code == 200
    assert answer_of(floor, call).content == "true"


def test_a_lease_is_good_for_its_own_call_only(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote("a"), remote("b"))
    first, second = claim(client), claim(client)
    swapped = {**first, "lease": second["lease"]}
    assert say(client, swapped, "heartbeat").json()["standing"] == "lost"
    assert settle(client, swapped).json()["verdict"] == "stale"


@pytest.mark.parametrize("path", ["run_nobody/1/a", "{run_id}/2/a", "{run_id}/1/b"])
def test_an_unknown_call_is_not_found(client: httpx2.Client, floor: Floor, path: str) -> None:
    run = floor.paused(remote())
    call = claim(client)
    nowhere = {**call, "path": f"/v1/pools/remote/calls/{path.format(run_id=run.run_id)}"}
    for verb, more in (("heartbeat", {}), ("settle", {"outcome": "failed", "content": ""}), ("release", {})):
        assert say(client, nowhere, verb, **more).status_code == 404


def test_a_cancelled_call_is_heard_of_by_the_heartbeat(client: httpx2.Client, floor: Floor) -> None:
    run = floor.paused(remote())
    call = claim(client)
    assert client.post(f"/v1/runs/{run.run_id}/cancel").json()["cancelled"]
    assert say(client, call, "heartbeat").json()["standing"] == "cancelled"
    assert say(client, call, "release").json() == {"verdict": "cancelled"}
    assert say(client, call, "heartbeat").json()["standing"] == "lost"
    assert nothing_there(client) and floor.due_entries("remote") == []


def test_a_cancelled_call_that_waits_is_handed_to_nobody(client: httpx2.Client, floor: Floor) -> None:
    run = floor.paused(remote())
    assert client.post(f"/v1/runs/{run.run_id}/cancel").json()["cancelled"]
    assert nothing_there(client)


def test_who_overstays_loses_the_call(tmp_path: Path, redis_url: str, floor: Floor) -> None:
    settings = project(tmp_path, redis_url, pools=POOLS, lease_seconds=0.5)
    floor.paused(remote(), timeout_seconds=0.001)
    with serving(settings) as served, served.asking() as client:
        call = claim(client)
        standings = list[str]()

        def is_taken_away() -> bool:
            standings.append(say(client, call, "heartbeat").json()["standing"])
            return standings[-1] != "held"

        wait_until(is_taken_away, "the call is taken away", timeout_seconds=60)
    assert standings[-1] == "lost"
    assert answer_of(floor, call).outcome is CallOutcome.TIMED_OUT


def test_while_the_store_is_away_executors_are_told_to_come_again(
    tmp_path: Path, redis_url: str, floor: Floor, embedded_server: EmbeddedServer
) -> None:
    settings, found = project(tmp_path, redis_url, pools=POOLS), list[httpx2.Response]()
    floor.paused(remote())
    with serving(settings) as served, served.asking() as client:
        call, wish = claim(client), {"executor": "laptop:1", "wait_seconds": 60}
        waiting = threading.Thread(target=lambda: found.append(client.post("/v1/pools/remote/claim", json=wish)))
        waiting.start()
        wait_until(lambda: blocked(floor.connection, name="errandry-gateway-pools"), "the executor waits")
        os.kill(embedded_server.pid, signal.SIGKILL)
        wait_until(lambda: not embedded_server.is_alive, "the server has died")
        try:
            waiting.join(60)
            answers = [*found, say(client, call, "heartbeat"), settle(client, call)]
            assert [(answer.status_code, answer.headers.get("retry-after")) for answer in answers] == [(503, "2")] * 3
        finally:
            embedded_server.revive()
        let_in(redis_url, settings)
        wait_until(lambda: settle(client, call).status_code == 200, "the answer is in", timeout_seconds=60)
    assert answer_of(floor, call).content == "found"


# --- giving back -------------------------------------------------------------------------------------------------


def test_a_call_that_is_given_back_goes_to_another(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote())
    first = claim(client)
    assert [say(client, first, "release").json() for _ in range(2)] == [{"verdict": "released"}] * 2
    assert queued(floor) == 1
    second = claim(client, executor="second:1")
    assert (second["tool_call_id"], second["attempt"]) == ("a", 1), "an attempt that was none does not count"
    assert say(client, first, "release").json()["verdict"] == "stale"
    assert settle(client, second).json() == {"verdict": "settled"}


def test_nothing_is_taken_for_an_executor_that_left(served: Served, client: httpx2.Client, floor: Floor) -> None:
    wish = {"executor": "gone:1", "wait_seconds": 60}
    with served.asking() as impatient:
        impatient.timeout = httpx2.Timeout(0.5)
        with pytest.raises(httpx2.ReadTimeout):
            impatient.post("/v1/pools/remote/claim", json=wish)
    wait_until(lambda: not served.server.server_state.tasks, "the request is over", timeout_seconds=20)
    floor.paused(remote())
    call = claim(client)
    assert call["attempt"] == 1 and queued(floor) == 0


def test_calls_that_come_while_executors_leave_are_with_somebody(
    served: Served, client: httpx2.Client, floor: Floor
) -> None:
    """Each call is either fetched by one that stays, at its first attempt, or in the name of one that left too late.

    None is in nobody's hands, although no sweep looks after them here.
    """
    count, over = 30, threading.Event()
    runs = {f"c{number}": "" for number in range(count)}

    def leave_early(number: int) -> None:
        with served.asking() as impatient:
            impatient.timeout = httpx2.Timeout(0.01 + number / 200)
            while not over.is_set():
                wish = {"executor": f"gone:{number}", "wait_seconds": 60}
                with suppress(httpx2.TimeoutException):
                    answer = impatient.post("/v1/pools/remote/claim", json=wish)
                    if answer.status_code == 200:
                        say(impatient, answer.json(), "release")

    def holder(tool_call_id: str) -> str:
        state, owner = floor.connection.hmget(
            keys.part("remote", runs[tool_call_id], 1), [f"state:{tool_call_id}", f"owner:{tool_call_id}"]
        )
        return str(owner).partition("/")[0] if state == "executing" else ""

    def fetch() -> bool:
        answer = client.post("/v1/pools/remote/claim", json={"executor": "stays:1", "wait_seconds": 0.2})
        if answer.status_code == 200:
            assert answer.json()["attempt"] == 1
        return all(map(holder, runs))

    with ThreadPoolExecutor(4) as leaving:
        for number in range(4):
            leaving.submit(leave_early, number)
        for tool_call_id in runs:
            runs[tool_call_id] = floor.paused(remote(tool_call_id)).run_id
        over.set()
    wait_until(fetch, "each call is with somebody", timeout_seconds=60)
    assert queued(floor) == 0 and "stays:1" in set(map(holder, runs))


# --- who may, and what is said -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pool", "status"), [("nobodys", 404), ("shell", 409), ("x" * 50, 422)])
def test_only_pools_that_are_served_over_http_are_served(client: httpx2.Client, pool: str, status: int) -> None:
    answer = client.post(f"/v1/pools/{pool}/claim", json={"executor": "laptop:1", "wait_seconds": 0})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.executor"),
        ({"executor": "a/b"}, "body.executor"),
        ({"executor": ""}, "body.executor"),
        ({"executor": "a\n"}, "body.executor"),
        ({"executor": "a", "wait_seconds": 61}, "body.wait_seconds"),
        ({"executor": "a", "wait_seconds": -1}, "body.wait_seconds"),
        ({"executor": "a", "max_calls": 3}, "body.max_calls"),
    ],
)
def test_a_wrong_claim_is_refused_by_its_field(client: httpx2.Client, body: dict[str, object], field: str) -> None:
    answer = client.post("/v1/pools/remote/claim", json=body)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == field, answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"outcome": "succeeded", "content": ""}, "body.lease"),
        ({"lease": "x", "content": ""}, "body.outcome"),
        ({"lease": "x", "outcome": "lost", "content": ""}, "body.outcome"),
        ({"lease": "x", "outcome": "failed"}, "body.content"),
        ({"lease": "x", "outcome": "failed", "content": "", "metrics": {"wall_seconds": -1}}, "body.metrics"),
        ({"lease": "x", "outcome": "failed", "content": "", "metrics": {"pool": "mine"}}, "body.metrics"),
    ],
)
def test_a_wrong_answer_is_refused_by_its_field(client: httpx2.Client, body: dict[str, object], field: str) -> None:
    answer = client.post("/v1/pools/remote/calls/run_x/1/a/settle", json=body)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"].startswith(field), answer.text


def test_a_key_opens_its_own_pool_only(tmp_path: Path, redis_url: str, floor: Floor) -> None:
    settings = project(tmp_path, redis_url, pools=POOLS)
    tokens = {pool: create_key(settings.api_keys_file, pool, roles=[], pools=[pool]) for pool in ("remote", "other")}
    with serving(settings, keys=True) as served:
        served.keys.update(tokens)
        floor.paused(remote())
        with served.asking("remote") as mine, served.asking("other") as theirs, served.asking("all") as of_people:
            call = claim(mine)
            for stranger in (theirs, of_people):
                for verb, more in (
                    ("heartbeat", {}),
                    ("settle", {"outcome": "failed", "content": ""}),
                    ("release", {}),
                ):
                    refused = say(stranger, call, verb, **more)
                    assert refused.status_code == 403 and "lacks the role pool:remote" in refused.json()["detail"]
                body = {"executor": "laptop:1", "wait_seconds": 0}
                assert stranger.post("/v1/pools/remote/claim", json=body).status_code == 403
            assert mine.get("/v1/runs").status_code == 403
            assert settle(mine, call).status_code == 200


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xfe",
        b"{}",
        b"[" * 3000,
        b'{"task": "tools.remote.look_up"}',
    ],
)
def test_a_message_that_is_none_is_set_aside(client: httpx2.Client, floor: Floor, junk: bytes) -> None:
    floor.connection.lpush(pool_queue("remote"), junk)
    floor.paused(remote())
    assert claim(client)["tool_call_id"] == "a"
    assert collect(floor.connection, ["remote"]) == 1
    (letter,) = floor.letters.latest(limit=5)
    assert (letter.kind, letter.pool) == ("message", "remote")


def test_a_copy_of_a_message_hands_nothing_over_twice(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote())
    message = str(floor.connection.lindex(pool_queue("remote"), 0))
    floor.connection.lpush(pool_queue("remote"), message, message)
    call = claim(client)
    assert nothing_there(client)
    floor.connection.lpush(pool_queue("remote"), message)
    settle(client, call)
    assert nothing_there(client)


def test_many_executors_wait_without_a_thread_or_connection_each(
    served: Served, floor: Floor, redis_connection: redis.Redis
) -> None:
    """Two hundred wait at once; each gets one call, and while they wait the gateway has few threads and connections."""
    count = 200
    before, found = threading.active_count(), list[Call]()

    def execute(number: int) -> None:
        found.append(claim(asking, wait_seconds=60, executor=f"many:{number}"))

    # To make a client of its own takes longer than all that an executor asks for here.
    limits = httpx2.Limits(max_connections=None)
    with (
        httpx2.Client(base_url=served.url, limits=limits, timeout=90, trust_env=False) as asking,
        ThreadPoolExecutor(count) as executors,
    ):
        waiting = [executors.submit(execute, number) for number in range(count)]
        wait_until(lambda: len(announced(redis_connection, "remote")) == count, "all wait", timeout_seconds=60)
        assert threading.active_count() - before - count <= 20
        mine = [one for one in redis_connection.client_list() if one["name"] == "errandry-gateway-pools"]
        assert len(mine) <= 20
        for number in range(count):
            floor.paused(remote(f"c{number}"))
        for one in waiting:
            one.result(60)
    assert {call["tool_call_id"] for call in found} == {f"c{number}" for number in range(count)}


def test_one_gateway_is_as_good_as_another(served: Served, client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote())
    call = claim(client)
    with serving(served.settings) as second, second.asking() as elsewhere:
        assert say(elsewhere, call, "heartbeat").json()["standing"] == "held"
        assert settle(elsewhere, call).json() == {"verdict": "settled"}
    assert settle(client, call).json() == {"verdict": "settled"}


def test_a_message_that_a_gateway_took_to_its_grave_is_published_anew(client: httpx2.Client, floor: Floor) -> None:
    floor.paused(remote())
    assert floor.connection.rpop(pool_queue("remote"))
    assert nothing_there(client)
    floor.become_due("remote")
    assert floor.sweep_calls("remote") == ["pushed"]
    assert claim(client)["attempt"] == 1


def test_executors_are_known_while_they_ask(client: httpx2.Client, redis_connection: redis.Redis) -> None:
    assert nothing_there(client)
    (executor,) = announced(redis_connection, "remote")
    assert (executor.worker, executor.level) == ("laptop:9", "external")


def test_a_gateway_that_leaves_keeps_no_call(tmp_path: Path, redis_url: str, floor: Floor) -> None:
    settings = project(tmp_path, redis_url, pools=POOLS)
    found = list[httpx2.Response]()
    with serving(settings) as served, served.asking() as asking:
        wish = {"executor": "laptop:1", "wait_seconds": 60}
        waiting = threading.Thread(target=lambda: found.append(asking.post("/v1/pools/remote/claim", json=wish)))
        waiting.start()
        wait_until(lambda: announced(floor.connection, "remote"), "the executor has asked")
        served.server.should_exit = True
        waiting.join(30)
    assert found[0].status_code == 204
    floor.paused(remote())
    assert queued(floor) == 1


def test_a_run_goes_on_with_the_answers_of_executors_and_of_tool_workers(client: httpx2.Client, floor: Floor) -> None:
    run = floor.paused(remote("a"), external("b", pool="shell"))
    assert settle(client, claim(client), "from afar").status_code == 200
    floor.calls.settle(floor.executing(run.run_id, "b"), CallResult(content="from here"))
    again = floor.claims.claim(run.run_id, owner="agents@test")
    assert isinstance(again, ClaimedRun)
    told = {call: answer.content for call, answer in again.answers.items() if isinstance(answer, CallResult)}
    assert told == {"a": "from afar", "b": "from here"}
