"""Calls that executors fetch over HTTP are counted by the gateway that hears of them, each once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from queues.client import Client
from queues.errors import CallFailedError
from queues.topology import pool_queue
from tests.support.gateways import Served, project, serving
from tests.support.queue_floor import Floor, external
from tests.support.redis_users import nobody_refused
from tests.support.scraping import Scrape
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

POOLS = {
    "remote": {"tools": ["t:look_up"], "served_by": "http"},
    "guarded": {"tools": ["t:guarded"], "served_by": "http", "approval": True},
}


@pytest.fixture
def served(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    with nobody_refused(redis_url), serving(project(tmp_path, redis_url, pools=POOLS)) as found:
        yield found


def claim(client: httpx2.Client, pool: str = "remote", *, wait_seconds: float = 30) -> httpx2.Response:
    return client.post(f"/v1/pools/{pool}/claim", json={"executor": "laptop:1", "wait_seconds": wait_seconds})


def settle(
    client: httpx2.Client, call: dict[str, Any], content: str, *, outcome: str = "succeeded", **metrics: float
) -> int:
    answer = {"lease": call["lease"], "outcome": outcome, "content": content, "metrics": metrics}
    return client.post(f"{call['path']}/settle", json=answer).status_code


def await_sample(served: Served, expected: float, name: str, **labels: str) -> Scrape:
    found: list[Scrape] = []

    def is_there() -> bool:
        found[:] = [Scrape(served)]
        return found[0].look_for(name, **labels) == expected

    wait_until(is_there, f"{name} of {labels} is {expected}", timeout_seconds=60)
    return found[0]


def test_an_answer_counts_once_however_often_it_is_sent(served: Served, floor: Floor) -> None:
    floor.paused(external("a", pool="remote"), external("b", pool="remote"))
    with served.asking() as client:
        first, second = claim(client).json(), claim(client).json()
        # It cannot have executed it for longer than it had it.
        assert [settle(client, first, "found", wall_seconds=366 * 86400) for _ in range(3)] == [200] * 3
        assert settle(client, first, "something else") == 409
        assert settle(client, second, "found", wall_seconds=0) == 200
        assert settle(client, {**second, "path": second["path"][:-1] + "nothing"}, "found") == 404
        assert claim(client, wait_seconds=0).status_code == 204
    refused = "errandry_answers_refused_total"
    found = await_sample(served, 1, refused, pool="remote", verdict="missing")
    assert found.all("errandry_calls_total") == {("succeeded", "remote"): 2}
    assert found.all(refused) == {("remote", "already"): 1, ("remote", "missing"): 1}
    for name in ("queue_wait", "execution", "turnaround"):
        assert found.all(f"errandry_call_{name}_seconds_count") == {("remote",): 2}
    took = {name: found.of(f"errandry_call_{name}_seconds_sum", pool="remote") for name in ("execution", "turnaround")}
    assert took["execution"] <= took["turnaround"] < 120
    assert found.all("errandry_tool_workers") == {("remote",): 1}


def test_an_attempt_that_is_tried_again_counts_once_however_often_its_answer_is_sent(
    served: Served, floor: Floor
) -> None:
    floor.paused(external("a", pool="remote"), max_attempts=2, backoff_seconds=600)
    with served.asking() as client:
        call = claim(client).json()
        assert [settle(client, call, "no", outcome="failed") for _ in range(3)] == [200] * 3
        assert settle(client, call, "found after all") == 409, "what was not tried again is no repeat"
    refused = "errandry_answers_refused_total"
    found = await_sample(served, 1, refused, pool="remote", verdict="stale")
    assert found.all(refused) == {("remote", "stale"): 1}
    assert found.all("errandry_call_execution_seconds_count") == {("remote",): 1}
    assert found.total("errandry_calls_total") == 0


def test_a_call_that_nobody_was_asked_about_is_denied(served: Served, floor: Floor, redis_url: str) -> None:
    with Client(redis_url) as producer, served.asking() as client, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(producer.execute, "guarded", {}, pool="guarded", timeout=60)
        wait_until(lambda: floor.connection.llen(pool_queue("guarded")), "the call is handed out")
        assert claim(client, "guarded", wait_seconds=5).status_code == 204
        with pytest.raises(CallFailedError, match="nobody was asked"):
            asked.result()
    found = await_sample(served, 1, "errandry_calls_total", pool="guarded", outcome="denied")
    assert found.total("errandry_call_turnaround_seconds_count") == 1
