"""A hostile call beside an honest one of the same pool: the honest one notices nothing, and is not noticed."""

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import open_backend
from tests.support.hostile.rows import LIMITS, tools
from tests.support.sandboxes import mark, marked
from tests.support.waiting import wait_until
from workers.sandbox.base import Outcome, Sandbox, SandboxCall

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]


@pytest.fixture(scope="module", params=["ns", "shared"])
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    project = tmp_path_factory.mktemp("project")
    project.chmod(0o755)
    limits = {**LIMITS, "wall_seconds": 20, "cpu_seconds": 20}
    opened = open_backend(request.param, tools=tools(), project_dir=project, variables={}, env=[], **limits)
    opened.describe()
    yield opened
    opened.close()


def _run(sandbox: Sandbox, name: str, *, sleep: str, timeout_seconds: float | None = None) -> Outcome:
    targets: dict[str, Any] = {
        "sleep": sleep,
        "limits": LIMITS,
        "plant": "planted",
        "pids": [],
        "bare": False,
        "project": "/",
    }
    call = SandboxCall(name, {"targets": targets}, "run_1:2:call_3", timeout_seconds=timeout_seconds)
    return sandbox.run(call, cancelled=threading.Event())


def _started(sandbox: Sandbox, threads: ThreadPoolExecutor, sleep: str) -> Future[Outcome]:
    """An honest call that is in the middle of its work, for two seconds from now on."""
    waiting = threads.submit(_run, sandbox, "wait_for_a_while", sleep=sleep)
    wait_until(lambda: marked(sleep), "the honest call runs")
    return waiting


@pytest.mark.parametrize(
    "hostile",
    [
        "kill_everything",
        "kill_the_parent",
        "stop_everything",
        "flood_with_signals",
        "bomb_by_forking",
        "take_memory",
        "stay_in_a_crowd",
        "leave_in_shared_memory",
        "exhaust_threads",
    ],
)
def test_an_honest_call_beside_a_hostile_one_comes_to_its_end(sandbox: Sandbox, hostile: str) -> None:
    sleep, other = mark(), mark()
    with ThreadPoolExecutor(1) as threads:
        honest = _started(sandbox, threads, sleep)
        _run(sandbox, hostile, sleep=other, timeout_seconds=1)
        outcome = honest.result(60)

    assert (outcome.outcome, outcome.content) == ("succeeded", "waited")
    wait_until(lambda: not marked(sleep) and not marked(other), "nothing is left")


def test_neither_its_processes_nor_its_scratch_are_seen(sandbox: Sandbox) -> None:
    sleep = mark()
    with ThreadPoolExecutor(1) as threads:
        honest = _started(sandbox, threads, sleep)
        seen = [
            _run(sandbox, name, sleep=sleep)
            for name in ("look_for_a_process", "look_in_scratch_for_anything", "look_in_shared_memory")
        ]
        honest.result(60)

    processes, scratch, memory = (json.loads(outcome.content) for outcome in seen)
    assert processes == memory == []
    # The way to a project below /tmp is shown there.
    assert not [path for path in scratch if "honest" in path]
    assert not Path("/tmp/honest-scratch").exists()
