"""The primary dies and a replica takes its place: what can hold does, and what is lost is lost openly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.errors import RunNotFoundError
from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues.client import Client, RunHandle
from queues.envelopes import continuation_envelope, start_envelope
from queues.errors import StoreRefusedError, StoreUnreachableError
from tests.support.processes import processes_of
from tests.support.server_pair import ServerPair
from tests.support.waiting import wait_until
from tests.support.walked import lost, must_be_whole
from tests.support.walking import Walk, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ServerPair]:
    with ServerPair(tmp_path) as pair:
        yield pair


@pytest.fixture
def walk(tmp_path: Path, pair: ServerPair) -> Iterator[Walk]:
    with walking(tmp_path, pair.url, lease_seconds=2, with_users=False) as walk:
        yield walk


def executing(run: RunHandle) -> None:
    next(event for event in run.events(timeout=BOUND) if event.event == "ToolCallExecuting")


def waits(walk: Walk) -> tuple[RunHandle, Path]:
    """A run whose call executes until the file is there."""
    gate = walk.settings.project_dir / "gate"
    run = walk.client.submit("ops", f"Run until test -e {gate}; do sleep 0.05; done; echo done")
    executing(run)
    return run, gate


def in_step(pair: ServerPair) -> None:
    def caught_up() -> bool:
        here = pair.primary.operator.info("replication")["master_repl_offset"]
        return bool(pair.replica.operator.info("replication")["master_repl_offset"] >= here)

    wait_until(caught_up, "the replica has all")


def test_a_replica_in_step_takes_over_in_the_middle_of_runs(pair: ServerPair, walk: Walk) -> None:
    before = walk.processes.pids()
    runs = [walk.client.submit("ops", "Everything at once") for _ in range(4)]
    long, gate = waits(walk)
    # What the primary took after the replica was seen to have all would be gone with it.
    pair.hold_writes()
    in_step(pair)
    pair.fail_over()
    gate.touch()
    for run in runs:
        output = run.wait(timeout=BOUND)
        must_be_whole(run, output)
        assert lost(output) == set()
    assert long.wait(timeout=BOUND).tools[0].outcome is CallOutcome.SUCCEEDED
    assert walk.processes.pids() == before


def test_what_a_lagging_replica_never_heard_of_is_gone_and_said_to_be(pair: ServerPair, walk: Walk) -> None:
    known, gate = waits(walk)
    in_step(pair)
    pair.lag()
    unheard_of = walk.client.submit("careful", "Delete invoices")  # acknowledged, for `everysec` asks no replica
    unheard_of.wait(timeout=BOUND, until="paused")
    pair.fail_over()
    gate.touch()
    with pytest.raises(RunNotFoundError):
        unheard_of.output()
    # Its messages turn up again, from wherever: nobody carries on what is not stored.
    for envelope in (start_envelope("careful", unheard_of.run_id, "normal"),
                     continuation_envelope("careful", unheard_of.run_id, 1, "normal")):  # fmt: skip
        pair.replica.operator.lpush(envelope.queue, envelope.render())
    output = known.wait(timeout=BOUND)
    assert (output.status, output.tools[0].outcome) == (RunStatus.COMPLETED, CallOutcome.SUCCEEDED)
    turned_away = f"[{unheard_of.run_id}"
    wait_until(
        lambda: sum(turned_away in line and "'missing'" in line for line in list(walk.lines)) >= 2,
        "its messages are turned away",
        timeout_seconds=BOUND,
    )
    with pytest.raises(RunNotFoundError):
        unheard_of.output()


def test_a_call_whose_record_survives_is_not_executed_again(pair: ServerPair, walk: Walk) -> None:
    """It was executed and answered on the primary; the replica knows only that it was begun."""
    run, gate = waits(walk)
    in_step(pair)
    pair.lag()
    gate.touch()
    assert run.wait(timeout=BOUND).status is RunStatus.COMPLETED
    pair.fail_over()
    output = run.wait(timeout=BOUND)
    assert (output.status, output.tools[0].outcome) == (RunStatus.COMPLETED, CallOutcome.LOST)
    begun = Counter(getattr(event, "tool_call_id", "") for event in run.events() if event.event == "ToolCallExecuting")
    assert list(begun.values()) == [1]


def test_a_submit_may_wait_for_a_replica(pair: ServerPair, walk: Walk) -> None:
    client = Client(pair.url, durability="replica")
    safe = client.submit("careful", "Delete invoices")
    pair.lag()
    with pytest.raises(StoreUnreachableError, match="no replica confirmed it"):
        client.submit("careful", "Delete reports", idempotency_key="reports")
    pair.fail_over()
    assert safe.wait(timeout=BOUND, until="paused").status is RunStatus.PAUSED
    client.close()


def test_a_primary_that_has_lost_its_replica_can_refuse_writes(pair: ServerPair, walk: Walk) -> None:
    """With `min-replicas-to-write 1` no more than `min-replicas-max-lag` seconds are ever lost; workers wait."""
    before = walk.processes.pids()
    run, gate = waits(walk)
    pair.primary.operator.config_set("min-replicas-max-lag", 1)
    pair.primary.operator.config_set("min-replicas-to-write", 1)
    pair.lag()
    wait_until(
        lambda: pair.primary.operator.info("replication")["min_slaves_good_slaves"] == 0, "its replica is too late"
    )
    with pytest.raises(StoreRefusedError, match="min-replicas-to-write"):
        walk.client.submit("ops", "Everything at once")
    gate.touch()
    wait_until(lambda: not processes_of(gate), "its call is done")
    assert run.status() is not RunStatus.COMPLETED
    pair.link.resume()
    assert run.wait(timeout=BOUND).tools[0].outcome is CallOutcome.SUCCEEDED
    assert walk.processes.pids() == before
