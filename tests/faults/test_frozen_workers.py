"""Workers are frozen past their leases: others take over, and when they thaw they can write nothing any more."""

from __future__ import annotations

import pytest

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues import keys
from tests.faults.conftest import LONG_LETTER, SLOW_MODEL
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.load import Load
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60


def owner(load: Load, key: str, field: str) -> str:
    """Which worker of the fleet holds it: a worker's name for itself holds its process id."""
    held = str(load.redis.hget(key, field))
    (name,) = [name for name in load.fleet.workers() if f":{load.fleet.pid(name)}:" in held]
    return name


def test_a_tool_worker_that_was_frozen_in_a_call_settles_nothing(fleet: Fleet, load: Load) -> None:
    run = load.submit(LONG_LETTER, "frozen-tool")
    load.wait_executing(run)
    (call,) = fleet.client.pending(run.run_id)
    part = keys.part("letters", run.run_id, 1)
    frozen = owner(load, part, f"owner:{call.tool_call_id}")
    fleet.freeze(frozen)
    try:
        output = fleet.client.run(run.run_id).wait(timeout=BOUND)
        wait_until(lambda: not fleet.executions(), "the tool is done", timeout_seconds=BOUND)
    finally:
        fleet.thaw(frozen)
    assert output.status is RunStatus.COMPLETED
    assert output.tools[0].outcome is CallOutcome.LOST
    wait_until(lambda: load.redis.hget(part, "refused") == "1", "its late answer was refused", timeout_seconds=BOUND)
    assert fleet.client.output(run.run_id) == output
    load.must_be_clean()
    assert len(fleet.ledger.of_word(str(call.tool_args["word"]))) == 1


def test_an_agent_worker_that_was_frozen_in_a_model_call_ends_nothing(fleet: Fleet, load: Load) -> None:
    run = load.submit(SLOW_MODEL, "frozen-agent")
    wait_until(lambda: fleet.client.output(run.run_id).status is RunStatus.RUNNING, "it is held", timeout_seconds=BOUND)
    wait_until(
        lambda: load.redis.hget(keys.run(run.run_id), "step") == "1", "the model is asked", timeout_seconds=BOUND
    )
    frozen = owner(load, keys.run(run.run_id), "owner")
    fleet.freeze(frozen)
    try:
        output = fleet.client.run(run.run_id).wait(timeout=BOUND)
    finally:
        fleet.thaw(frozen)
    assert output.status is RunStatus.COMPLETED
    # It has noticed once it has done with the task that it was frozen in.
    noticed = f"{frozen} | "
    wait_until(
        lambda: any(
            line.startswith(noticed) and f"[{run.run_id}" in line and "succeeded" in line and "'lost'" in line
            for line in fleet.said().splitlines()
        ),
        "the thawed worker gives the run up",
        timeout_seconds=BOUND,
    )
    assert fleet.client.output(run.run_id) == output
    load.must_be_clean()
