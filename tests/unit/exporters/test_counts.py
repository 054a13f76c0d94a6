"""What is counted of which telemetry event."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from agent_core import telemetry
from agent_core.telemetry import EVENTS, emit
from queues.counting import FAMILIES, LEVELS, field_of, figure_of, of_a_pool
from queues.executor_calls import LEVEL
from workers.exporters.counts import Counts
from workers.sandbox.base import SandboxLevel

CALL = {"run_id": "r", "step": 1, "tool_call_id": "a", "pool": "shell", "tool_name": "look_up"}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    monkeypatch.setattr(telemetry, "_listeners", [])
    counts = Counts(agents=["ops"])
    end = counts.listen()
    yield counts
    end()
    end()
    emit("lease.lost", kind="run")
    assert counts.take() == {}


@pytest.mark.parametrize(
    ("found", "kind"), [("PENDING", "start"), ("PAUSED", "continuation"), ("RUNNING", "takeover"), ("ERROR", "retry")]
)
def test_a_stretch_is_counted_by_how_the_run_was_found(counts: Counts, found: str, kind: str) -> None:
    emit("run.claimed", run_id="r", epoch="1", agent="ops", step=1, found=found)
    assert counts.take() == {("errandry_stretches_total", "ops", kind): 1}


def test_a_run_is_timed_once_it_has_ended(counts: Counts) -> None:
    for status in ("PAUSED", "lost", "parked", "COMPLETED"):
        emit("run.left", run_id="r", agent="ops", step=1, status=status, age_seconds=7.25)
    assert counts.take() == {
        ("errandry_run_seconds", "ops", "10.0"): 1,
        ("errandry_run_seconds", "ops", "sum"): 7_250_000,
    }


def test_tokens_are_counted_as_the_model_says(counts: Counts) -> None:
    told = {"run_id": "r", "step": 1, "agent": "ops", "model": "oracle"}
    for outcome, given, made in (("answered", 30, 4), ("answered", 12, 0), ("failed", 0, 0)):
        emit("model.answered", **told, outcome=outcome, wall_seconds=0.02, input_tokens=given, output_tokens=made)
    assert counts.take() == {
        ("errandry_model_requests_total", "ops", "oracle", "answered"): 2,
        ("errandry_model_requests_total", "ops", "oracle", "failed"): 1,
        ("errandry_model_request_seconds", "ops", "oracle", "0.025"): 3,
        ("errandry_model_request_seconds", "ops", "oracle", "sum"): 60_000,
        ("errandry_tokens_total", "ops", "oracle", "input"): 42,
        ("errandry_tokens_total", "ops", "oracle", "output"): 4,
    }


def test_whoever_submits_cannot_make_up_series(counts: Counts) -> None:
    for name in ("x", "y"):
        emit("run.claimed", run_id="r", epoch="1", agent=name, step=1, found="PENDING")
    assert counts.take() == {("errandry_stretches_total", "other", "start"): 2}


@pytest.mark.parametrize("verdict", ["settled", "last", "retry", "already", "stale", "missing"])
def test_an_answer_is_counted_by_what_came_of_it(counts: Counts, verdict: str) -> None:
    emit("call.settled", **CALL, attempt=1, outcome="failed", verdict=verdict, turnaround_seconds=1.5)
    counted = counts.take()
    if verdict in ("settled", "last"):
        assert counted == {
            ("errandry_calls_total", "shell", "failed"): 1,
            ("errandry_call_turnaround_seconds", "shell", "2.5"): 1,
            ("errandry_call_turnaround_seconds", "shell", "sum"): 1_500_000,
        }
    else:
        assert counted == ({} if verdict == "retry" else {("errandry_answers_refused_total", "shell", verdict): 1})


def test_the_sweep_counts_what_it_put_right_and_settled(counts: Counts) -> None:
    for kind, found, pool in (
        *(
            ("call", "lost", "shell"),
            ("call", "expired", "shell"),
            ("call", "pushed", "shell"),
            ("call", "held", "shell"),
        ),
        *(("run", "pushed", None), ("deadline", "expired", None), ("message", "refused", None)),
    ):
        emit("sweep.looked", kind=kind, found=found, pool=pool)
    assert counts.take() == {
        ("errandry_sweep_repairs_total", "lost"): 1,
        ("errandry_sweep_repairs_total", "expired"): 2,
        ("errandry_sweep_repairs_total", "pushed"): 2,
        ("errandry_sweep_repairs_total", "refused"): 1,
        ("errandry_calls_total", "shell", "lost"): 1,
        ("errandry_calls_total", "shell", "expired"): 1,
    }


def test_walls_and_leases_are_counted(counts: Counts) -> None:
    emit("sandbox.started", pool="shell", sandbox_level="ns")
    emit("sandbox.refused", pool="shell", reason="start")
    emit("sandbox.refused", pool="shell", reason="process")
    emit("lease.lost", kind="call")
    assert counts.take() == {
        ("errandry_sandbox_starts_total", "shell", "ns"): 1,
        ("errandry_sandbox_refusals_total", "shell"): 2,
        ("errandry_leases_lost_total", "call"): 1,
    }


def test_a_value_stands_in_the_smallest_bucket_that_holds_it(counts: Counts) -> None:
    for seconds in (-1.0, 0.0, 0.005, 0.0051, 1800.0, 1800.1):
        emit("call.claimed", **CALL, queue_wait_seconds=seconds)
    name, counted = "errandry_call_queue_wait_seconds", dict(counts.take())
    assert counted.pop((name, "shell", "sum")) == 3_600_110_100
    found = {figure[2]: count for figure, count in counted.items() if figure[:2] == (name, "shell")}
    assert found == {"0.005": 3, "0.01": 1, "1800.0": 1, "+Inf": 1} and len(found) == len(counted)


def test_nothing_is_raised_into_the_work(counts: Counts, caplog: pytest.LogCaptureFixture) -> None:
    emit("call.claimed", **CALL, queue_wait_seconds="long")
    assert counts.take() == {} and "call.claimed could not be counted" in caplog.text


def test_nothing_is_counted_twice_or_not_at_all_beside_other_threads(counts: Counts) -> None:
    taken: list[int] = []

    def count() -> None:
        for _ in range(2000):
            emit("lease.lost", kind="run")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += counts.take().values()
    taken += counts.take().values()
    assert sum(taken) == 8000


def test_all_that_is_counted_is_in_the_table(counts: Counts) -> None:
    """Each event with a value for each of its fields; whatever comes of it has a family, and a pool's own is read."""
    told: dict[str, object] = dict.fromkeys({field for fields in EVENTS.values() for field in fields}, "x")
    told |= {
        "pool": "shell",
        "found": "lost",
        "kind": "call",
        "verdict": "settled",
        "status": "ERROR",
        "sandbox_level": "ns",
    }
    told |= {"outcome": "failed", "input_tokens": 1, "output_tokens": 1}
    told |= {field: 1.0 for field in told if field.endswith("_seconds")}
    for event, fields in EVENTS.items():
        emit(event, **{field: told[field] for field in fields})
    counted = counts.take()
    # Those are for other values of the same fields.
    elsewhere = {"errandry_answers_refused_total", "errandry_stretches_total"}
    assert {figure[0] for figure in counted} == {family.name for family in FAMILIES} - elsewhere
    of_shell = {figure for figure in counted if "shell" in figure}
    assert of_shell and of_shell <= set(of_a_pool("shell"))
    assert all(figure_of(field_of(figure)) == figure for figure in counted)


def test_every_level_has_its_series() -> None:
    assert set(LEVELS) == set(SandboxLevel)
    assert LEVEL not in LEVELS  # executors put up no wall of ours
