"""Lines that are written while a call or a run is at hand bear its ids, whoever writes them and in whichever thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from agent_core import telemetry
from agent_core.telemetry import listen
from queues.leases import LeaseKeeper
from tests.support.acting_sandbox import ActingSandbox
from tests.support.queue_floor import Floor, address, external
from workers.execution import Executor
from workers.exporters.log_context import attach_ids
from workers.exporters.log_lines import LogLines

pytestmark = pytest.mark.redis

BOUND = 30


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """As in a worker: telemetry becomes lines, and lines get their ids."""
    monkeypatch.setattr(telemetry, "_listeners", [])
    listen(LogLines())
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(attach_ids)
    yield
    caplog.handler.removeFilter(attach_ids)


def execute(floor: Floor, act: Callable[[threading.Event], object]) -> str:
    """Have a call executed that does so; returns its run."""
    run = floor.paused(external("a"))
    with closing(LeaseKeeper(floor.connection, heartbeat_seconds=0.05)) as leases:
        Executor(floor.calls, leases, ActingSandbox(act), worker="shell@test").execute(address(run.run_id, "a"))
    return run.run_id


def said(caplog: pytest.LogCaptureFixture, text: str) -> logging.LogRecord:
    (record,) = [record for record in caplog.records if text in record.getMessage()]
    return record


def test_a_library_in_the_thread_of_a_call(floor: Floor, caplog: pytest.LogCaptureFixture) -> None:
    run_id = execute(floor, lambda _: logging.getLogger("some.library").warning("a library speaks"))
    call = {"run_id": run_id, "step": 1, "tool_call_id": "a", "pool": "shell", "tool_name": "look_up", "attempt": 1}
    assert said(caplog, "a library speaks").ids == call  # type: ignore[attr-defined]
    settled = said(caplog, "call of look_up succeeded in 0.50 s")
    assert call.items() <= settled.fields.items()  # type: ignore[attr-defined]
    logging.getLogger("some.library").warning("afterwards")
    assert said(caplog, "afterwards").ids == {}  # type: ignore[attr-defined]


def test_a_lost_lease_is_told_with_the_call_that_it_was_for(floor: Floor, caplog: pytest.LogCaptureFixture) -> None:
    def lose(cancelled: threading.Event) -> None:
        for key in floor.connection.keys("errandry:part:shell:{*"):
            floor.connection.delete(str(key))
        assert cancelled.wait(BOUND)

    run_id = execute(floor, lose)
    lost = said(caplog, "the lease of a call is lost")
    assert lost.levelno == logging.WARNING
    ids = lost.ids  # type: ignore[attr-defined]
    assert (ids["run_id"], ids["tool_call_id"], ids["pool"], ids["attempt"]) == (run_id, "a", "shell", 1)
    assert said(caplog, "that answer was refused").levelno == logging.WARNING
