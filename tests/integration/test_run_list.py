"""Listing runs: page by page, filtered, bounded, whatever comes and goes meanwhile."""

from __future__ import annotations

import pytest
import redis

from agent_core.errors import RunNotFoundError
from agent_core.run import RunStatus
from queues import keys, run_list
from queues.client import Client
from queues.replies import now_ms
from queues.run_list import RunPage
from tests.support.commands import counted_commands
from tests.support.queue_floor import Floor, claimed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def client(redis_url: str) -> Client:
    return Client(redis_url)


def submitted(client: Client, number: int, agent: str = "ops") -> list[str]:
    """So many runs, the newest first; each in a millisecond of its own, for within one they have no order."""
    run_ids = []
    for count in range(number):
        run_ids.append(client.submit(agent, f"input {count}").run_id)
        next_millisecond(client)
    return run_ids[::-1]


def next_millisecond(client: Client) -> None:
    connection = client._stores.connection
    begun = now_ms(connection)
    wait_until(lambda: now_ms(connection) > begun, "the server's clock has gone on")


def ids(page: RunPage) -> list[str]:
    return [output.run_id for output in page]


def test_pages_follow_one_another(client: Client) -> None:
    expected = submitted(client, 7)
    first = client.runs(limit=3)
    newer = client.submit("ops", "came meanwhile").run_id
    second = client.runs(limit=3, before=first.before)
    third = client.runs(limit=3, before=second.before)
    assert [ids(page) for page in (first, second, third)] == [expected[:3], expected[3:6], expected[6:]]
    assert third.before is None and ids(client.runs(limit=1)) == [newer]


def test_the_last_page_may_be_full(client: Client) -> None:
    expected = submitted(client, 4)
    page = client.runs(limit=2, before=client.runs(limit=2).before)
    assert ids(page) == expected[2:]
    assert page.before is None or list(client.runs(before=page.before)) == []


@pytest.mark.parametrize("agent", [None, "ops"])
def test_a_page_that_ends_at_a_run_which_is_gone_has_one_after_it(
    client: Client, monkeypatch: pytest.MonkeyPatch, agent: str | None
) -> None:
    monkeypatch.setattr(run_list, "MOST_LOOKED_AT", 3)
    newest, gone, last, oldest = submitted(client, 4)
    client._stores.connection.delete(keys.run(gone), keys.run(last))
    page = client.runs(agent=agent, limit=3)
    assert ids(page) == [newest] and page.before == last
    assert ids(client.runs(agent=agent, limit=3, before=page.before)) == [oldest]
    assert client._stores.connection.zscore(keys.RUNS, gone) is None


def test_a_filter_finds_what_lies_deeper_than_a_page(client: Client, floor: Floor) -> None:
    (rare,) = submitted(client, 1, "rare")
    cancelled, *_ = submitted(client, 60)
    client.cancel(cancelled)
    submitted(client, 60)
    assert ids(client.runs(agent="rare", limit=2)) == [rare]
    assert ids(client.runs(status=RunStatus.CANCELLED, limit=2)) == [cancelled]
    assert ids(client.runs(status=RunStatus.CANCELLED, agent="rare", limit=2)) == []
    claimed(floor.claims, rare)
    assert ids(client.runs(status=RunStatus.RUNNING, limit=1)) == [rare]


def test_filtered_pages_follow_one_another(client: Client) -> None:
    expected = []
    for _ in range(5):
        submitted(client, 3, "other")
        expected += submitted(client, 1)
    expected.reverse()
    found, before = [], None
    while True:
        page = client.runs(agent="ops", limit=2, before=before)
        found.append(ids(page))
        if (before := page.before) is None:
            break
    assert [run_id for page in found for run_id in page] == expected and found[:2] == [expected[:2], expected[2:4]]


def test_one_call_looks_no_further_than_it_says(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_list, "MOST_LOOKED_AT", 5)
    (rare,) = submitted(client, 1, "rare")
    newer = submitted(client, 7)
    page = client.runs(agent="rare")
    assert (ids(page), page.before) == ([], newer[4])
    rest = client.runs(agent="rare", before=page.before)
    assert (ids(rest), rest.before) == ([rare], None)


def test_snapshots_are_read_of_the_page_alone(client: Client, redis_connection: redis.Redis) -> None:
    submitted(client, 40)
    client.runs(limit=1)
    with counted_commands(redis_connection) as commands:
        assert len(client.runs(agent="ops", limit=20)) == 20
    assert commands == {"evalsha": 1, "hmget": 40 + 20}


def test_what_is_gone_is_left_out_and_forgotten(client: Client, redis_connection: redis.Redis) -> None:
    first, second, third = submitted(client, 3)
    redis_connection.delete(keys.run(second))
    assert ids(client.runs()) == [first, third]
    assert redis_connection.zcard(keys.RUNS) == 2
    redis_connection.delete(keys.run(first))
    assert ids(client.runs(agent="ops")) == [third]
    with pytest.raises(RunNotFoundError, match="begin again without before="):
        client.runs(before=second)


def test_a_page_holds_a_run_or_more(client: Client) -> None:
    with pytest.raises(ValueError, match="limit is 0"):
        client.runs(limit=0)


def test_several_statuses_match_any_of_them(client: Client, floor: Floor) -> None:
    pending, cancelled, running = submitted(client, 3)
    client.cancel(cancelled)
    claimed(floor.claims, running)
    assert ids(client.runs(status={RunStatus.CANCELLED, RunStatus.RUNNING})) == [cancelled, running]
    assert ids(client.runs(status=[RunStatus.PENDING, RunStatus.CANCELLED], limit=1)) == [pending]
    assert ids(client.runs(status=())) == []


def test_a_status_goes_by_its_name(client: Client) -> None:
    pending, cancelled = submitted(client, 2)
    client.cancel(cancelled)
    assert ids(client.runs(status="CANCELLED")) == [cancelled]  # type: ignore[arg-type]
    assert ids(client.runs(status=["PENDING"])) == [pending]  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"no status DONE; choose of PENDING, .*ERROR"):
        client.runs(status="DONE")  # type: ignore[arg-type]
