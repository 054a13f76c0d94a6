"""Agents, pools, dead letters and figures over HTTP, as the gateway's own Redis user sees them."""

from __future__ import annotations

import os
import re
import signal

import httpx2
import pytest

from queues import keys
from queues.announcements import Announcement, Announcements
from queues.embedded import EmbeddedServer
from queues.offers import Offers, ToolOffer
from tests.support.queue_floor import Floor, external
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis


def metrics(client: httpx2.Client) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_dead_letter_is_shown_and_dug_up_once(client: httpx2.Client, floor: Floor) -> None:
    letter_id = floor.buried_call()
    (listed,) = client.get("/v1/dead-letters").json()["dead_letters"]
    assert (listed["id"], listed["kind"], listed["pool"]) == (letter_id, "call", "shell")
    assert client.get(f"/v1/dead-letters/{letter_id}").json() == listed
    assert metrics(client)["errandry_dead_letters"] == 1
    requeued = client.post(f"/v1/dead-letters/{letter_id}/requeue")
    assert requeued.json() == {"id": letter_id, "requeued": True}
    for again in (client.post(f"/v1/dead-letters/{letter_id}/requeue"), client.get(f"/v1/dead-letters/{letter_id}")):
        assert (again.status_code, again.json()["type"]) == (404, "urn:errandry:problem:dead-letter-not-found")
    assert client.get("/v1/dead-letters").json() == {"dead_letters": []}


def test_the_figures_are_those_of_the_store(client: httpx2.Client, floor: Floor) -> None:
    run = floor.dispatched(external("a"), external("b"))
    floor.paused(external("c", pool="python"))
    ended = floor.submitted()
    floor.cancel(ended)
    floor.connection.zadd(keys.WEBHOOKS, {"put off": 1e15})
    found = metrics(client)
    assert found["errandry_webhooks_waiting"] == 1
    assert found['errandry_queue_messages{lane="normal",pool="shell"}'] == 2
    assert found['errandry_queue_messages{lane="normal",pool="python"}'] == 1
    assert found['errandry_queue_messages{lane="normal",pool=""}'] == 1  # of the run that has ended
    states = {state: found[f'errandry_runs{{state="{state}"}}'] for state in ("pending", "running", "paused", "ended")}
    assert states == {"pending": 0, "running": 1, "paused": 1, "ended": 1}
    assert found["errandry_runs_submitted_total"] == 3
    assert found['errandry_runs_ended_total{status="CANCELLED"}'] == 1
    # As if the call at the head had been queued a thousand seconds before.
    floor.connection.hincrby(keys.part("shell", run.run_id, 1), "queued:a", -1_000_000)
    assert 1000 <= metrics(client)['errandry_queue_oldest_seconds{pool="shell"}'] < 2000
    floor.connection.delete("tools.shell")
    assert metrics(client)['errandry_queue_oldest_seconds{pool="shell"}'] == 0


def test_junk_on_a_queue_spoils_no_figure(client: httpx2.Client, floor: Floor) -> None:
    floor.connection.rpush("tools.shell", "junk")
    floor.connection.rpush("tools.python", '{"body": "W10="}')
    found = metrics(client)
    assert found['errandry_queue_messages{lane="normal",pool="shell"}'] == 1
    assert found['errandry_queue_oldest_seconds{pool="shell"}'] == 0


def test_requests_are_counted_by_route_and_never_by_path(client: httpx2.Client) -> None:
    before = metrics(client)
    for number in range(5):
        client.get(f"/v1/runs/run_{number}")
        client.request("BREW", f"/teapot/{number}")
    after = {name: value for name, value in metrics(client).items() if name not in before}
    counted = {name: value for name, value in after.items() if name.startswith("errandry_gateway_requests_total")}
    assert counted == {
        'errandry_gateway_requests_total{method="GET",route="/v1/runs/{run_id}",status="404"}': 5,
        'errandry_gateway_requests_total{method="GET",route="/metrics",status="200"}': 1,
        'errandry_gateway_requests_total{method="other",route="none",status="404"}': 5,
    }
    assert not re.search("run_[0-9]|teapot", client.get("/metrics").text)


def test_agents_and_pools_are_those_that_are_there(client: httpx2.Client, floor: Floor) -> None:
    assert client.get("/v1/agents").json() == {"agents": []}
    assert client.get("/ready").json() == {"status": "ready", "agents_announced": 0}
    floor.claims.announce(["ops", "billing"], valid_seconds=600)
    assert client.get("/v1/agents").json() == {"agents": ["billing", "ops"]}
    assert client.get("/ready").json()["agents_announced"] == 2
    assert client.get("/v1/pools").json() == {"pools": []}
    Offers(floor.connection).announce_tools({"run": ToolOffer("shell"), "look": ToolOffer("shell")})
    told = Announcement("shell@test", "ns", 4, gaps=("no cgroups",))
    Announcements(floor.connection, "shell", valid_seconds=600).announce(told)
    floor.dispatched(external("a"))
    (pool,) = client.get("/v1/pools").json()["pools"]
    assert (pool["name"], sorted(pool["tools"]), pool["concurrency"]) == ("shell", ["look", "run"], 4)
    assert pool["workers"] == [{"worker": "shell@test", "level": "ns", "concurrency": 4, "gaps": ["no cgroups"]}]
    assert sum(pool["waiting"].values()) == 1


def test_probes_may_ask_for_heads(client: httpx2.Client) -> None:
    for path in ("/health", "/ready"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    refused = client.post("/health")
    assert refused.status_code == 405 and refused.headers["allow"] == "GET, HEAD"


def test_a_store_that_is_frozen_makes_the_gateway_unready_but_not_dead(
    client: httpx2.Client, embedded_server: EmbeddedServer
) -> None:
    os.kill(embedded_server.pid, signal.SIGSTOP)
    try:
        assert client.get("/ready").status_code == 503
        assert client.get("/health").json() == {"status": "ok"}
        assert metrics(client)["errandry_store_up"] == 0
    finally:
        os.kill(embedded_server.pid, signal.SIGCONT)
    wait_until(lambda: client.get("/ready").status_code == 200, "the gateway is ready again", timeout_seconds=30)
