"""A tool lets no other thread of its agent worker run: the leases are kept all the same, but only while it lives."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import redis

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues import keys
from queues.client import RunHandle
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.processes import processes
from tests.support.waiting import is_running, wait_until
from tests.support.walking import Walk, agent_worker, walking
from workers.sandbox.watching import stat_fields

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60
LEASE_SECONDS = 3.0  # shorter ones run out by themselves on a machine that is busy with other tests


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("starved")
    with walking(folder, cleared_server.url, lease_seconds=LEASE_SECONDS, start_workers=False) as running:
        yield running


@pytest.fixture
def whole(walk: Walk) -> Walk:
    running = walk.processes.pids()
    walk.processes.start(*(agent_worker(walk, name=name) for name in ("one", "two") if name not in running))
    return walk


@pytest.fixture
def operator(embedded_server: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(embedded_server.url) as connection:
        yield connection


def holder(walk: Walk, operator: redis.Redis, run: RunHandle) -> int:
    """The worker in which the tool runs: it is called once its call is written down."""
    wait_until(lambda: run.output().tools, "the tool is called", timeout_seconds=BOUND)
    owner = str(operator.hget(keys.run(run.run_id), "owner"))
    (pid,) = [pid for pid in walk.processes.pids().values() if f":{pid}:" in owner]
    return pid


def stand_ins(worker: int) -> list[int]:
    """The process that keeps the worker's leases meanwhile."""
    found = [pid for pid, shown in processes() if "queues.stand_in" in shown.split("=", 1)[0]]
    return [pid for pid in found if parent_of(pid) == worker]


def parent_of(pid: int) -> int | None:
    """None if it is gone: other tests have stand-ins, too, which come and go."""
    try:
        return int(stat_fields(pid)[1])
    except OSError:
        return None


def test_a_tool_that_holds_the_interpreter_is_not_taken_for_dead(whole: Walk) -> None:
    run = whole.client.submit("ops", f"Hold on for {4 * LEASE_SECONDS} s")
    output = run.wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED
    (call,) = output.tools
    assert (call.outcome, call.result) == (CallOutcome.SUCCEEDED, "let go")
    assert [event.event for event in run.events()].count("RunContinued") == 0  # nobody took the run over


def test_a_cancellation_is_heard_once_the_interpreter_is_let_go_of(whole: Walk, operator: redis.Redis) -> None:
    run = whole.client.submit("ops", f"Hold on for {2 * LEASE_SECONDS} s")
    holder(whole, operator, run)
    run.cancel("no longer wanted")
    assert run.wait(timeout=BOUND).status is RunStatus.CANCELLED


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_nobody_stands_in_for_a_worker_that_is_dead_or_stopped(
    whole: Walk, operator: redis.Redis, number: signal.Signals
) -> None:
    run = whole.client.submit("ops", f"Hold on for {30 * LEASE_SECONDS} s")
    pid = holder(whole, operator, run)
    others = stand_ins(pid)
    assert len(others) == 1
    os.kill(pid, number)
    try:
        output = run.wait(timeout=15 * LEASE_SECONDS)
        assert (output.status, output.tools[0].outcome) == (RunStatus.COMPLETED, CallOutcome.LOST)
    finally:
        os.kill(pid, signal.SIGKILL) if number is signal.SIGSTOP else None
    wait_until(lambda: not any(map(is_running, others)), "its stand-in has left with it")
    wait_until(lambda: pid not in whole.processes.pids().values(), "it is gone")
