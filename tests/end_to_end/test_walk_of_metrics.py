"""What a gateway shows after runs through real workers is what happened to them, to the last call and token."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import pytest

from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.tools.execution import CallOutcome, ToolExecution
from queues.client import RunHandle
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.runs import Runs
from queues.timing import Timing
from queues.topology import Lane
from tests.support.gateways import Served, serving
from tests.support.redis_users import nobody_refused
from tests.support.scraping import Scrape
from tests.support.waiting import wait_until
from tests.support.walking import Walk, kill, tool_worker, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60


@dataclass(frozen=True)
class Watched:
    """A walk, and a gateway that is asked what it counted."""

    walk: Walk
    served: Served
    owner_url: str

    def scrape(self) -> Scrape:
        return Scrape(self.served)

    def await_sample(self, expected: float, name: str, **labels: str) -> None:
        """Processes tell with their heartbeats."""
        wait_until(
            lambda: self.scrape().look_for(name, **labels) == expected,
            f"{name} of {labels} is {expected}",
            timeout_seconds=BOUND,
        )


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory, embedded_server: EmbeddedServer) -> Iterator[Watched]:
    embedded_server.revive()
    with connect(embedded_server.url) as connection:
        connection.flushall()
    with (
        nobody_refused(embedded_server.url),
        walking(tmp_path_factory.mktemp("walk"), embedded_server.url) as walk,
        serving(walk.settings) as served,
    ):
        yield Watched(walk, served, embedded_server.url)


def in_pool(outputs: list[RunOutput], pool: str) -> list[ToolExecution]:
    return [call for output in outputs for call in output.tools if call.pool == pool]


def events_of(runs: list[RunHandle]) -> Counter[str]:
    return Counter(event.event for run in runs for event in run.events(timeout=BOUND))


def test_the_figures_are_what_happened(watched: Watched) -> None:
    client = watched.walk.client
    prompts = ["Everything at once", "Everything at once", "Twice", "Fail with a reason", "Run exit 3", "Look inside"]
    runs = [client.submit("ops", prompt) for prompt in prompts]
    asked = client.submit("careful", "Delete cake")
    asked.wait(timeout=BOUND, until="paused")
    found = watched.scrape()
    assert found.of("errandry_runs", state="paused") >= 1 and found.of("errandry_runs_submitted_total") == 7
    client.confirm(asked.run_id, asked.output().tools[0].tool_call_id, True)
    runs.append(asked)
    outputs = [run.wait(timeout=BOUND) for run in runs]
    assert {output.status for output in outputs} == {RunStatus.COMPLETED}
    told = events_of(runs)
    steps = sum(message.role == "assistant" for output in outputs for message in output.messages)

    watched.await_sample(6, "errandry_run_seconds_count", agent="ops")
    watched.await_sample(1, "errandry_run_seconds_count", agent="careful")
    watched.await_sample(len(in_pool(outputs, "shell")), "errandry_call_turnaround_seconds_count", pool="shell")
    watched.await_sample(len(in_pool(outputs, "python")), "errandry_call_turnaround_seconds_count", pool="python")
    found = watched.scrape()
    assert found.all("errandry_runs") == {("ended",): 7} and found.of("errandry_runs_submitted_total") == 7
    assert found.all("errandry_runs_ended_total") == {("COMPLETED",): 7}
    assert found.all("errandry_run_seconds_count") == {("ops",): 6, ("careful",): 1}
    assert found.all("errandry_stretches_total") == {
        ("ops", "start"): 6,
        ("ops", "continuation"): told["RunPaused"] - 1,
        ("careful", "start"): 1,
        ("careful", "continuation"): 1,
    }
    for pool in ("shell", "python"):
        calls = in_pool(outputs, pool)
        assert len(calls) >= 3
        by_outcome = Counter(call.outcome for call in calls)
        shown = {outcome: count for (outcome, of), count in found.all("errandry_calls_total").items() if of == pool}
        assert shown == by_outcome
        assert found.of("errandry_sandbox_starts_total", pool=pool, level="ns") == len(calls)
        measured = [call.metrics for call in calls if call.metrics is not None]
        for name, field in (("queue_wait", "queue_wait_seconds"), ("execution", "wall_seconds")):
            histogram = f"errandry_call_{name}_seconds"
            seconds = [getattr(metrics, field) for metrics in measured]
            assert found.of(f"{histogram}_sum", pool=pool) == pytest.approx(sum(seconds), abs=1e-5)
            buckets = [(float(le), count) for (le, of), count in found.all(f"{histogram}_bucket").items() if of == pool]
            assert max(buckets) == (float("inf"), len(calls)) and all(
                a[1] <= b[1] for a, b in pairwise(sorted(buckets))
            )
            assert all(count == sum(second <= bound for second in seconds) for bound, count in buckets)
        turnaround = found.of("errandry_call_turnaround_seconds_sum", pool=pool)
        waited = sum(found.of(f"errandry_call_{name}_seconds_sum", pool=pool) for name in ("queue_wait", "execution"))
        assert waited < turnaround
    assert found.of("errandry_calls_total", pool="python", outcome="failed") == 1
    assert found.all("errandry_inline_calls_total") == {("succeeded",): 3}
    assert found.total("errandry_model_requests_total") == steps == found.total("errandry_model_request_seconds_count")
    tokens = found.all("errandry_tokens_total")
    assert {direction for _, direction, _ in tokens} == {"input", "output"}
    for direction in ("input", "output"):
        used = sum(getattr(output.metrics, f"{direction}_tokens") for output in outputs)
        assert sum(count for (_, of, _), count in tokens.items() if of == direction) == used > 0
    assert {model for *_, model in tokens} == {"scripted"}
    assert found.all("errandry_tool_workers") == {("shell",): 1, ("python",): 1}
    for name in ("leases_lost_total", "answers_refused_total", "sandbox_refusals_total"):
        assert found.total(f"errandry_{name}") == 0


def test_what_goes_wrong_is_counted(watched: Watched) -> None:
    walk, executing = watched.walk, "errandry_calls_open"
    killed = walk.client.submit("ops", "Run sleep 47.21; echo done")
    next(event for event in killed.events(timeout=BOUND) if event.event == "ToolCallExecuting")
    assert watched.scrape().of(executing, pool="shell") == 1
    kill(walk, "shell")
    walk.processes.start(tool_worker(walk, "shell", name="shell"))
    assert [call.outcome for call in killed.wait(timeout=BOUND).tools] == [CallOutcome.LOST]
    watched.await_sample(1, "errandry_calls_total", pool="shell", outcome="lost")
    watched.await_sample(1, "errandry_sweep_repairs_total", found="lost")

    frozen = walk.client.submit("ops", "Print and wait for /nowhere")
    next(event for event in frozen.events(timeout=BOUND) if event.event == "ToolCallExecuting")
    pid = walk.processes.pids()["shell"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert [call.outcome for call in frozen.wait(timeout=BOUND).tools] == [CallOutcome.LOST]
    finally:
        os.kill(pid, signal.SIGCONT)
    watched.await_sample(1, "errandry_leases_lost_total", kind="call")
    watched.await_sample(1, "errandry_answers_refused_total", pool="shell", verdict="already")
    watched.await_sample(2, "errandry_calls_total", pool="shell", outcome="lost")
    assert watched.scrape().all("errandry_calls_total") == {("lost", "shell"): 2}

    with connect(watched.owner_url) as operator:
        snapshot = RunSnapshot.create(agent_name="ops", input="Look inside")
        runs = Runs(operator, timing=Timing(repush_seconds=0.1))
        astray = walk.client.run(runs.create(snapshot, agent="ops", lane=cast(Lane, "astray")))
    assert astray.wait(timeout=BOUND).status is RunStatus.COMPLETED
    wait_until(
        lambda: watched.scrape().of("errandry_sweep_repairs_total", found="pushed") >= 1,
        "the message that nobody read was repaired, and counted",
        timeout_seconds=BOUND,
    )
