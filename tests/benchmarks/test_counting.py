"""What it costs that what happens is counted: the events of a call, and of a model turn, with nobody listening and with
the counts of a worker.
"""

import gc
from collections.abc import Callable, Iterator

import pytest

from agent_core import telemetry
from agent_core.telemetry import emit
from workers.bench.pairs import compare
from workers.exporters.counts import Counts

pytestmark = pytest.mark.benchmark

CALL = {"run_id": "run_1", "step": 1, "tool_call_id": "call_1", "pool": "shell", "tool_name": "look_up"}
TURN = {"run_id": "run_1", "step": 1, "agent": "ops", "model": "oracle"}
AT_ONCE = 1000


@pytest.fixture(autouse=True)
def listeners(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[telemetry.Listener]]:
    found: list[telemetry.Listener] = []
    monkeypatch.setattr(telemetry, "_listeners", found)
    gc.collect()
    yield found


def call() -> None:
    emit("call.claimed", **CALL, queue_wait_seconds=0.003)
    emit("call.begun", **CALL, attempt=1)
    emit("sandbox.started", pool="shell", sandbox_level="ns")
    emit("call.executed", **CALL, attempt=1, outcome="succeeded", wall_seconds=0.02, sandbox_level="ns")
    emit("call.settled", **CALL, attempt=1, outcome="succeeded", verdict="last", turnaround_seconds=0.03)


def turn() -> None:
    emit("run.claimed", run_id="run_1", epoch="1", agent="ops", step=1, found="PAUSED")
    emit("model.asked", **TURN)
    emit("model.answered", **TURN, outcome="answered", wall_seconds=1.0, input_tokens=900, output_tokens=40)
    emit("run.left", run_id="run_1", agent="ops", step=1, status="COMPLETED", age_seconds=4.0)


@pytest.mark.parametrize("work", [call, turn], ids=["a call", "a stretch"])
def test_of_counting(
    work: Callable[[], None], listeners: list[telemetry.Listener], capsys: pytest.CaptureFixture[str]
) -> None:
    counts = Counts(agents=["ops"])

    def unheard() -> None:
        listeners.clear()
        for _ in range(AT_ONCE):
            work()

    def counted() -> None:
        listeners[:] = [counts.hear]
        for _ in range(AT_ONCE):
            work()

    taken = compare(unheard, counted, pairs=40)
    assert counts.take()
    with capsys.disabled():
        print(taken.table(f"The events of {AT_ONCE} times {work.__name__}: unheard, and counted"))
