"""The executors of deploy/examples, which know neither Redis nor Python's objects: real runs through a real gateway."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent_core.run import RunStatus
from agent_core.tools.execution import CallOutcome
from queues.embedded import EmbeddedServer
from tests.support.executors import BOUND, Remote, begun_by, missing_programs, remote_project

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Remote]:
    with remote_project(tmp_path_factory.mktemp("remote"), cleared_server.url) as running:
        yield running


@pytest.fixture
def remote(project: Remote) -> Iterator[Remote]:
    yield project
    project.stop_all()


@pytest.fixture(params=["mjs", "sh"])
def kind(request: pytest.FixtureRequest) -> str:
    example = str(request.param)
    if lacking := missing_programs(example):
        pytest.skip(f"executor.{example} {lacking}")
    return example


def test_a_run_goes_to_its_end(remote: Remote, kind: str) -> None:
    executor = remote.start(kind)
    output = remote.walk.client.submit("ops", "Count one two three").wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED, output.error
    (call,) = output.tools
    assert str(call.result).replace(" ", "").strip() == '{"letters":13,"words":3}'
    metrics = call.metrics
    assert metrics is not None
    assert (metrics.pool, metrics.worker, metrics.attempt) == ("remote", executor.name, 1)
    assert metrics.sandbox_level == "external" and metrics.wall_seconds is not None


def test_the_calls_of_a_step_and_one_that_nobody_knows(remote: Remote, kind: str) -> None:
    remote.start(kind)
    output = remote.walk.client.submit("ops", "Both").wait(timeout=BOUND)
    outcomes = [call.outcome for call in output.tools]
    assert outcomes == [CallOutcome.SUCCEEDED, CallOutcome.SUCCEEDED, CallOutcome.FAILED]
    assert "no tool named missing" in str(output.tools[2].result)


@pytest.mark.fault
def test_a_killed_executor_is_reported_and_a_second_one_goes_on(remote: Remote, kind: str) -> None:
    first = remote.start(kind)
    run = remote.walk.client.submit("ops", "Wait 600 s")
    assert begun_by(remote, run) == first.name
    first.kill()
    second = remote.start(kind)
    (lost,) = run.wait(timeout=BOUND).tools
    assert lost.outcome is CallOutcome.LOST and lost.metrics is not None and lost.metrics.worker == first.name
    (call,) = remote.walk.client.submit("ops", "Count on").wait(timeout=BOUND).tools
    assert call.metrics is not None and call.metrics.worker == second.name


@pytest.mark.fault
def test_a_second_executor_takes_over_what_may_be_repeated(remote: Remote, kind: str) -> None:
    first = remote.start(kind)
    run = remote.walk.client.submit("patient", "Wait 10 s")
    assert begun_by(remote, run) == first.name
    first.kill()
    second = remote.start(kind)
    (call,) = run.wait(timeout=BOUND).tools
    assert call.outcome is CallOutcome.SUCCEEDED and "waited 10" in str(call.result)
    assert call.metrics is not None and (call.metrics.worker, call.metrics.attempt) == (second.name, 2)


def test_a_cancelled_call_is_stopped(remote: Remote, kind: str) -> None:
    executor = remote.start(kind)
    run = remote.walk.client.submit("ops", "Wait 600 s")
    assert begun_by(remote, run) == executor.name
    assert run.cancel("no longer wanted")
    # It executes one call at a time, so it could not take this one otherwise.
    (call,) = remote.walk.client.submit("ops", "Count on").wait(timeout=BOUND).tools
    assert call.metrics is not None and call.metrics.worker == executor.name


def test_a_call_that_takes_too_long_is_settled_as_that(remote: Remote, kind: str) -> None:
    remote.start(kind)
    (call,) = remote.walk.client.submit("hasty", "Wait 600 s").wait(timeout=BOUND).tools
    assert call.outcome is CallOutcome.TIMED_OUT
