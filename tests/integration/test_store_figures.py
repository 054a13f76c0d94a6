"""What a gateway shows of pools, whatever their credentials have written; and that it is what Prometheus can read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from agent_core.tools.execution import CallOutcome, CallResult
from queues import keys
from queues.announcements import Announcement, Announcements
from queues.count_telling import CountTeller
from queues.counting import Figure, field_of, of_a_pool
from queues.protocol import continuation_member, due_member
from tests.support.gateways import Served, project, serving
from tests.support.queue_floor import Floor, external
from tests.support.redis_users import nobody_refused
from tests.support.scraping import Scrape
from workers.gateway.metric_table import ALL

pytestmark = pytest.mark.redis

SHELL = {"pool": "shell"}


@pytest.fixture
def served(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    with nobody_refused(redis_url), serving(project(tmp_path, redis_url)) as found:
        yield found


def tell(connection: redis.Redis, pool: str | None, counted: Mapping[Any, int]) -> None:
    batches: list[Mapping[Figure, int]] = [counted]
    CountTeller(connection, pool=pool, process=uuid.uuid4().hex, take=lambda: batches.pop() if batches else {}).tell()


def test_everything_in_the_table_is_exported_and_nothing_else(served: Served, floor: Floor) -> None:
    values = {"agent": "ops", "model": "oracle", "outcome": "answered", "direction": "input", "kind": "start"}
    trusted = [described for described in ALL if "agent" in described.labels]
    last = {"histogram": ["+Inf"], "counter": []}
    tell(floor.connection, None, {(d.name, *(values[label] for label in d.labels), *last[d.kind]): 1 for d in trusted})
    with served.asking() as client:
        client.get("/health")
    found = Scrape(served).families
    exported = {}
    for name, family in found.items():
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert len(labels) == 1, f"{name} has no sample, or not always the same labels"
        exported[name + ("_total" if family.type == "counter" else "")] = (
            family.type,
            labels.pop(),
            family.documentation,
        )
    assert exported == {d.name: (d.kind, frozenset(d.labels), d.help) for d in ALL}


def test_what_processes_told_is_shown_and_what_pools_and_others_counted_is_added_up(
    served: Served, floor: Floor
) -> None:
    name, wait = "errandry_calls_total", "errandry_call_queue_wait_seconds"
    told = {
        (name, "shell", "lost"): 2,
        (wait, "shell", "0.01"): 3,
        (wait, "shell", "+Inf"): 1,
        (wait, "shell", "sum"): 2_500_000,
        # A thousand calls that wait all the time, for a year.
        ("errandry_call_turnaround_seconds", "shell", "sum"): 1000 * 365 * 86_400 * 1_000_000,
    }
    tell(floor.connection, "shell", told)
    years = {("errandry_run_seconds", "ops", "sum"): 10**17}
    tell(
        floor.connection, None, {(name, "shell", "lost"): 5, ("errandry_tokens_total", "ops", "m", "input"): 9} | years
    )
    found = Scrape(served)
    assert found.of(name, **SHELL, outcome="lost") == 7
    assert found.of(name, pool="python", outcome="lost") == 0
    assert found.of("errandry_call_turnaround_seconds_sum", **SHELL) == 1000 * 365 * 86_400
    assert found.of("errandry_run_seconds_sum", agent="ops") == 10**11
    assert found.of("errandry_tokens_total", agent="ops", model="m", direction="input") == 9
    buckets = {le: found.of(f"{wait}_bucket", **SHELL, le=le) for le in ("0.005", "0.01", "1800.0", "+Inf")}
    assert buckets == {"0.005": 0, "0.01": 3, "1800.0": 3, "+Inf": 4}
    assert (found.of(f"{wait}_count", **SHELL), found.of(f"{wait}_sum", **SHELL)) == (4, 2.5)


@pytest.mark.parametrize("junk", ["-1", "nan", "inf", "1e9", "1.5", "9" * 19, "9" * 1_000_000, "", " 1", "x"])
def test_what_is_no_count_is_nothing(served: Served, floor: Floor, junk: str) -> None:
    floor.connection.hset(keys.counts("shell"), mapping={field_of(figure): junk for figure in of_a_pool("shell")})
    floor.connection.hset(keys.STATES, "PENDING", junk)
    found = Scrape(served)
    assert {found.total(name) for name in ("errandry_calls_total", "errandry_leases_lost_total")} == {0}
    assert found.of("errandry_call_turnaround_seconds_sum", **SHELL) == 0
    assert found.of("errandry_runs", state="pending") == 0 == found.of("errandry_store_up") - 1


def test_a_pool_makes_up_neither_series_nor_figures_of_others(served: Served, floor: Floor) -> None:
    before = Scrape(served).size
    forged = [("errandry_calls_total", "python", "lost"), ("errandry_tokens_total", "a", "m", "input"), ("a", "b")]
    forged += [("errandry_calls_total", "shell", f"outcome {number}") for number in range(500)]
    floor.connection.hset(keys.counts("shell"), mapping={field_of(figure): 7 for figure in forged})
    found = Scrape(served)
    assert found.total("errandry_calls_total") == 0 and "errandry_tokens" in found.families
    assert found.total("errandry_tokens_total") == 0
    assert found.size < before + 200  # one more route was asked for


@pytest.mark.parametrize("pool_writes", ["text", "list"])
def test_another_kind_of_key_is_nothing(served: Served, floor: Floor, pool_writes: str) -> None:
    for key in (keys.counts("shell"), keys.pool_due("shell"), keys.pool_workers("shell")):
        floor.connection.delete(key)
        floor.connection.set(key, "x") if pool_writes == "text" else floor.connection.lpush(key, "x")
    tell(floor.connection, "python", {("errandry_calls_total", "python", "lost"): 1})
    found = Scrape(served)
    assert (found.of("errandry_calls_open", **SHELL), found.of("errandry_tool_workers", **SHELL)) == (0, 0)
    assert found.total("errandry_calls_total") == 1


def test_the_trusted_side_shows_what_is_known_and_nothing_else(served: Served, floor: Floor) -> None:
    """A newer release may count what this one does not know; a pool may be taken out of the settings."""
    unknown = [("errandry_new_total", "x"), ("errandry_calls_total", "gone", "lost"), ("errandry_calls_total", "lost")]
    tell(floor.connection, None, dict.fromkeys(unknown, 1))
    floor.connection.hset(keys.COUNTS, mapping={"junk": 1, '{"a": 1}': 2, "[1]": 3, "[" * 5000: 4})
    assert Scrape(served).total("errandry_calls_total") == 0


def test_open_calls_are_those_without_an_answer(served: Served, floor: Floor) -> None:
    first, _ = floor.paused(external("a"), external("b")), floor.paused(external("c"))
    assert Scrape(served).of("errandry_calls_open", **SHELL) == 3
    call = floor.executing(first.run_id, "a")
    assert Scrape(served).of("errandry_calls_open", **SHELL) == 3
    floor.calls.settle(call, CallResult(content="done"))
    assert Scrape(served).of("errandry_calls_open", **SHELL) == 2
    backing_off = CallResult(outcome=CallOutcome.FAILED, content="no")
    floor.calls.settle(floor.executing(first.run_id, "b"), backing_off, retry_after_seconds=600)
    assert Scrape(served).of("errandry_calls_open", **SHELL) == 2


def test_many_open_calls_are_estimated(served: Served, floor: Floor) -> None:
    answered = {continuation_member(f"run_{number}", 1): 1 for number in range(3000)}
    waiting = {due_member(f"run_{number}", 1, 'a"b', "look_up"): 1 for number in range(9000)}
    floor.connection.zadd(keys.pool_due("shell"), {**answered, **waiting})
    # Three quarters of 12,000; 200 of them are looked at, so six standard deviations are 2205.
    assert 6800 < Scrape(served).of("errandry_calls_open", **SHELL) < 11200


def test_tool_workers_are_those_that_announce_themselves(served: Served, floor: Floor) -> None:
    known = Announcements(floor.connection, "shell", valid_seconds=600)
    for worker in ("one", "two", "one", "three"):
        known.announce(Announcement(worker, "ns", 1))
    known.withdraw("three")
    for worker, until in (("late", "1"), ("forged", "1e300"), ("forged too", "9" * 300)):
        entry: dict[Any, Any] = {"worker": worker, "says": "{}", "until": until}
        floor.connection.xadd(keys.pool_workers("shell"), entry)
    floor.connection.xadd(keys.pool_workers("shell"), {"other": "words"})
    found = Scrape(served)
    assert found.of("errandry_tool_workers", **SHELL) == 2
    assert found.of("errandry_tool_workers", pool="python") == 0
