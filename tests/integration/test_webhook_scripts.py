"""Announcements in Redis: made by the script that ends or pauses a run, held by one sender at a time, gone at last."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from agent_core.events import RunCompleted
from agent_core.run import RunStatus
from agent_core.tools.execution import Confirmation, ToolExecution
from queues import keys
from queues.claims import Claims
from queues.client import Client
from queues.repairs import Repairs
from queues.scripts import Scripts
from queues.timing import Timing
from queues.webhooks import WAITS_SECONDS, Announcement, Try, Webhooks
from tests.support.queue_floor import EXPIRED, TIMING, Floor, claimed, external
from tests.support.waiting import wait_until
from workers.cli import main

pytestmark = pytest.mark.redis

URL = "https://example.com/hook"
ASKED = ToolExecution(tool_call_id="p", tool_name="look_up", step=1, requires_confirmation=True)


@pytest.fixture
def floor(redis_connection: redis.Redis) -> Floor:
    """The stores of the empty server; runs are submitted with a webhook."""
    floor = Floor(redis_connection)
    floor.webhook_url = URL
    return floor


@pytest.fixture
def webhooks(redis_connection: redis.Redis) -> Webhooks:
    return Webhooks(redis_connection)


def completed(floor: Floor) -> str:
    run = claimed(floor.claims, floor.submitted())
    run.snapshot.output.status = RunStatus.COMPLETED
    floor.claims.finish(run, run.snapshot, [RunCompleted(run_id=run.run_id, agent_name="ops")])
    return run.run_id


def announced(webhooks: Webhooks) -> list[tuple[str, str]]:
    return [(due.announcement.run_id, due.announcement.status.value) for due in webhooks.due(limit=10)]


def only(webhooks: Webhooks) -> Announcement:
    (due,) = webhooks.due(limit=10)
    assert due.url == URL
    return due.announcement


def taken(webhooks: Webhooks, announcement: Announcement) -> Try:
    (held,) = webhooks.take([announcement])
    return held


def test_each_end_is_announced_with_the_write_that_makes_it(floor: Floor, webhooks: Webhooks) -> None:
    done = completed(floor)
    cancelled = floor.paused(external("a")).run_id
    floor.cancel(cancelled)
    expired = floor.submitted(deadline_seconds=0.001)
    wait_until(lambda: expired in floor.repairs.due_deadlines(limit=10), "its deadline has passed")
    floor.repairs.expire(expired)
    assert announced(webhooks) == [(done, "COMPLETED"), (cancelled, "CANCELLED"), (expired, "ERROR")]
    assert floor.connection.llen(keys.WEBHOOKS_WAKE) == 1  # one word for all of them


def test_a_pause_for_people_is_announced_and_one_for_a_pool_is_not(floor: Floor, webhooks: Webhooks) -> None:
    floor.paused(external("a"))
    assert announced(webhooks) == []
    by_hand, asked = floor.paused(external("b", pool=None)), floor.paused(ASKED.model_copy(), external("c"))
    assert announced(webhooks) == [(by_hand.run_id, "PAUSED"), (asked.run_id, "PAUSED")]


def test_a_pause_for_an_approval_is_announced(floor: Floor, webhooks: Webhooks) -> None:
    call = external("a")
    call.requires_approval = True
    run = floor.paused(call)
    assert announced(webhooks) == [(run.run_id, "PAUSED")]


def test_a_pause_that_is_over_as_it_begins_is_not_announced(floor: Floor, webhooks: Webhooks) -> None:
    run = floor.dispatched(ASKED.model_copy())
    stored = floor.runs.load(run.run_id)
    stored.snapshot.output.tools = [ASKED.model_copy()]
    assert floor.runs.answer(stored, "p", Confirmation(confirmed=True)) == "last"
    floor.pause(run)
    assert announced(webhooks) == []


def test_a_save_whose_answer_was_lost_announces_once(floor: Floor, webhooks: Webhooks) -> None:
    run = claimed(floor.claims, floor.submitted())
    run.snapshot.output.status = RunStatus.COMPLETED
    event = RunCompleted(run_id=run.run_id, agent_name="ops")
    floor.claims.finish(run, run.snapshot, [event])
    first = only(webhooks)
    webhooks.close(first)
    floor.claims.finish(run, run.snapshot, [event])
    assert announced(webhooks) == []


def test_a_run_without_a_webhook_costs_nothing(floor: Floor) -> None:
    floor.webhook_url = None
    completed(floor)
    waiting = floor.paused(ASKED.model_copy())
    floor.cancel(waiting.run_id)
    assert floor.connection.exists(keys.WEBHOOKS, keys.WEBHOOKS_WAKE) == 0
    assert not any("webhook" in field for field in hash_of(floor, waiting.run_id))


def hash_of(floor: Floor, run_id: str) -> dict[str, str]:
    found: Any = floor.connection.hgetall(keys.run(run_id))
    return dict(found)


def test_a_run_that_is_retried_and_ends_again_is_announced_again(floor: Floor, webhooks: Webhooks) -> None:
    run = claimed(floor.claims, floor.submitted())
    run.snapshot.output.status = RunStatus.ERROR
    floor.claims.finish(run, run.snapshot, [])
    first = only(webhooks)
    floor.runs.retry(floor.runs.load(run.run_id))
    again = claimed(floor.claims, run.run_id)
    again.snapshot.output.status = RunStatus.COMPLETED
    floor.claims.finish(again, again.snapshot, [])
    webhooks.close(first)
    second = only(webhooks)
    assert second.id != first.id and second.status is RunStatus.COMPLETED


def test_one_sender_holds_an_announcement_at_a_time(floor: Floor, webhooks: Webhooks) -> None:
    completed(floor)
    announcement = only(webhooks)
    assert taken(webhooks, announcement).number == 1
    assert webhooks.take([announcement]) == []
    assert announced(webhooks) == []


def test_a_take_whose_answer_was_lost_is_the_same_take(floor: Floor, webhooks: Webhooks) -> None:
    completed(floor)
    announcement = only(webhooks)
    where = [keys.WEBHOOKS, keys.run(announcement.run_id)]
    scripts = Scripts(floor.connection)
    for _ in range(2):
        reply = scripts.row("take_webhook", where, [announcement.entry, announcement.version, "me", 30_000])
        assert reply == ["taken", "1"]


def test_a_sender_that_died_is_followed_by_another(floor: Floor, redis_connection: redis.Redis) -> None:
    completed(floor)
    dying = Webhooks(redis_connection, lease_seconds=0)
    announcement = only(dying)
    frozen = taken(dying, announcement)
    follower = taken(Webhooks(redis_connection), announcement)
    assert (frozen.number, follower.number) == (1, 2)
    # Whoever wakes up late changes nothing by having failed; by having delivered it does.
    dying.put_off(frozen, seconds=3600)
    dying.bury(frozen, reason="late")
    assert (dying.seconds_until_due() or 0) < 31 and floor.letters.latest(limit=5) == []
    dying.close(announcement)
    assert dying.seconds_until_due() is None


def test_a_failed_try_is_put_off_and_an_untried_one_is_not_counted(floor: Floor, webhooks: Webhooks) -> None:
    completed(floor)
    announcement = only(webhooks)
    webhooks.put_off_untried([(announcement, 0.01)])
    wait_until(lambda: announced(webhooks), "it is due again")
    held = taken(webhooks, announcement)
    assert held.number == 1
    webhooks.put_off_untried([(announcement, 0)])  # somebody holds it
    assert announced(webhooks) == []
    for _ in range(2):  # a repeat
        webhooks.put_off(held, seconds=0)
    assert taken(webhooks, announcement).number == 2


def test_what_is_delivered_leaves_nothing(floor: Floor, webhooks: Webhooks) -> None:
    run_id = completed(floor)
    announcement = only(webhooks)
    held = taken(webhooks, announcement)
    webhooks.close(announcement)
    webhooks.close(announcement)
    webhooks.put_off(held, seconds=0)
    assert not floor.connection.exists(keys.WEBHOOKS)
    assert [name for name in hash_of(floor, run_id) if name.startswith("webhook")] == ["webhook"]


def test_a_buried_one_is_dug_up_and_tried_anew(floor: Floor, webhooks: Webhooks, redis_url: str) -> None:
    run_id = completed(floor)
    webhooks.bury(taken(webhooks, only(webhooks)), reason="it answered 500")
    client = Client(redis_url)
    (letter,) = client.dead_letters()
    assert (letter.kind, letter.run_id, letter.reason) == ("webhook", run_id, "it answered 500")
    assert announced(webhooks) == []
    assert client.requeue(letter.id)
    assert client.dead_letters() == []
    assert taken(webhooks, only(webhooks)).number == 1
    client.close()


def test_the_dead_letter_commands_know_it(
    floor: Floor,
    webhooks: Webhooks,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ERRANDRY_REDIS_URL", redis_url)
    run_id = completed(floor)
    webhooks.bury(taken(webhooks, only(webhooks)), reason="it answered 500")
    letter_id = f"webhook:{run_id}:2"

    def said(*arguments: str) -> str:
        assert main(["dead", *arguments]) == 0
        return capsys.readouterr().out

    assert f"{letter_id}  webhook" in said("list") and "it answered 500" in said("list")
    assert f"run      {run_id}" in said("show", letter_id)
    assert said("requeue", letter_id) == f"{letter_id} is requeued\n"
    assert only(webhooks).run_id == run_id


def test_one_whose_run_is_gone_is_not_dug_up(floor: Floor, webhooks: Webhooks) -> None:
    run_id = completed(floor)
    webhooks.bury(taken(webhooks, only(webhooks)), reason="it answered 500")
    (letter,) = floor.letters.latest(limit=5)
    floor.connection.delete(keys.run(run_id))
    assert not floor.letters.requeue_webhook(letter)
    assert floor.letters.latest(limit=5) == [] and announced(webhooks) == []


def test_an_announcement_goes_with_its_run(floor: Floor, redis_connection: redis.Redis, webhooks: Webhooks) -> None:
    brief = Timing(retention_seconds=0.05)
    run = claimed(Claims(redis_connection, timing=brief), floor.submitted())
    run.snapshot.output.status = RunStatus.COMPLETED
    Claims(redis_connection, timing=brief).finish(run, run.snapshot, [])
    wait_until(lambda: not floor.connection.exists(keys.run(run.run_id)), "the run is gone")
    (due,) = webhooks.due(limit=10)
    assert due.url is None
    assert webhooks.take([due.announcement]) == []
    assert not floor.connection.exists(keys.WEBHOOKS, keys.run(run.run_id))


def test_what_no_gateway_ever_looks_at_is_swept_out(floor: Floor, redis_connection: redis.Redis) -> None:
    completed(floor)
    Repairs(redis_connection, timing=TIMING).trim(limit=10)
    assert floor.connection.exists(keys.WEBHOOKS)
    wait_until(
        lambda: Repairs(redis_connection, timing=Timing(retention_seconds=0.01)).trim(limit=10), "it is swept out"
    )
    assert not floor.connection.exists(keys.WEBHOOKS)


def test_junk_among_them_is_taken_out(floor: Floor, webhooks: Webhooks) -> None:
    run_id = completed(floor)
    junk = ["x", "[]", '["r", "1", "NEVER", "1"]', '["r", "1", "ERROR", "x"]', '["r", 1, "ERROR", "1"]', '{"a": 1}']
    junk.append(f'["r", "1", "ERROR", "{"9" * 30}"]')
    floor.connection.zadd(keys.WEBHOOKS, dict.fromkeys(junk, 1))
    assert announced(webhooks) == [(run_id, "COMPLETED")]
    assert floor.connection.zcard(keys.WEBHOOKS) == 1


def test_a_buried_run_is_announced_too(floor: Floor, webhooks: Webhooks) -> None:
    run_id = floor.submitted()
    floor.kill_three_holders(run_id)
    assert Repairs(floor.connection, timing=EXPIRED).look_at_run(run_id) == "buried"
    assert announced(webhooks) == [(run_id, "ERROR")]


def test_twelve_tries_take_about_a_day() -> None:
    assert len(WAITS_SECONDS) + 1 == 12
    assert 20 < sum(WAITS_SECONDS) / 3600 < 26
    assert list(WAITS_SECONDS) == sorted(WAITS_SECONDS)
