"""What lines of the log cost: each against a plain line of the standard library, and all of a call against its work."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count

import pytest

from agent_core import telemetry
from agent_core.telemetry import emit, listen
from queues.calls import CallAddress
from queues.leases import LeaseKeeper
from tests.support.acting_sandbox import ActingSandbox
from tests.support.queue_floor import Floor, address, external
from workers.bench.pairs import compare
from workers.execution import Executor
from workers.exporters.log_context import attach_ids, bound
from workers.exporters.log_forms import JsonLines, TextLines
from workers.exporters.log_lines import LogLines

pytestmark = [pytest.mark.benchmark, pytest.mark.redis]

PLAIN = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
TEXT = TextLines()
JSON = JsonLines({"process": "tool-worker", "worker": "shell@host:1", "pool": "shell"})
CALL = {"run_id": "run_1", "step": 1, "tool_call_id": "call_2", "pool": "shell", "tool_name": "look_up"}


@contextmanager
def lines_by(formatter: logging.Formatter | None) -> Iterator[logging.Logger]:
    """Within the block events become lines in memory, written by this formatter; without one nobody hears of them."""
    logger, before = logging.getLogger("errandry"), list(telemetry._listeners)
    kept = logger.level, logger.propagate
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(attach_ids)
    telemetry._listeners[:] = []
    if formatter is not None:
        handler.setFormatter(formatter)
        listen(LogLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        logger.setLevel(kept[0])
        logger.propagate = kept[1]
        telemetry._listeners[:] = before


def plainly() -> None:
    """Write a line as anybody would."""
    logging.getLogger("errandry").info("call of %s %s in %.2f s", "look_up", "succeeded", 0.1)


def settled() -> None:
    """The event that becomes a line at info."""
    emit("call.settled", **CALL, attempt=1, outcome="succeeded", verdict="last", turnaround_seconds=0.1)


def begun() -> None:
    """An event that becomes a line at debug only."""
    emit("call.begun", **CALL, attempt=1)


def within(formatter: logging.Formatter | None, work: Callable[[], None]) -> Callable[[], None]:
    """The work, done 200 times while lines are written so."""

    def measured() -> None:
        with lines_by(formatter), bound(**CALL, attempt=1):
            for _ in range(200):
                work()

    return measured


@pytest.mark.parametrize(
    ("title", "formatter", "work"),
    [
        ("an event that nobody hears", None, settled),
        ("an event that is told at debug only", TEXT, begun),
        ("an event that becomes a line of text", TEXT, settled),
        ("an event that becomes a line of JSON", JSON, settled),
    ],
)
def test_a_line_against_a_plain_one(title: str, formatter: logging.Formatter | None, work: Callable[[], None]) -> None:
    print(compare(within(PLAIN, plainly), within(formatter, work), pairs=30).table(f"200 times {title}"))


def test_the_log_of_a_call_against_its_work(floor: Floor) -> None:
    """All that is told of one call, against the call without a log; its sandbox does nothing at all."""
    names = count()

    def executed(formatter: logging.Formatter | None) -> Callable[[], None]:
        def execute() -> None:
            with lines_by(formatter):
                for call in calls.pop():
                    executor.execute(call)

        return execute

    def paused() -> list[CallAddress]:
        ids = [f"call_{next(names)}" for _ in range(20)]
        run = floor.paused(*map(external, ids))
        return [address(run.run_id, tool_call_id) for tool_call_id in ids]

    with ExitStack() as stack:
        leases = stack.enter_context(closing(LeaseKeeper(floor.connection, heartbeat_seconds=5)))
        executor = Executor(floor.calls, leases, ActingSandbox(lambda _: None), worker="shell@test")
        calls = [paused() for _ in range(2 * 30 + 2)]
        title = "20 calls with a log in JSON, against the same without one"
        print(compare(executed(None), executed(JSON), pairs=30).table(title))
