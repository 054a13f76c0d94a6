"""One contract for everything that stands behind the seam: each wall, a container engine, and no wall at all.

Every call is a real process. What differs between them (how much they hold) is the business of the hostile suite.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agent_core.tools.execution import CallOutcome
from tests.support.backends import BACKENDS, open_backend
from tests.support.sandboxes import mark, marked, run
from tests.support.waiting import wait_until
from workers.sandbox.base import Sandbox, SandboxLevel, SandboxUnavailableError, ToolsUnreadableError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's"),
    pytest.mark.timeout(240),
]

_LIMITS: dict[str, Any] = {
    "memory_mb": 128,
    "pids": 24,
    "cpu_seconds": 2,
    "wall_seconds": 20,
    "disk_mb": 8,
    "output_kb": 64,
}
_TOKEN = 'tok-"quoted"/é-4711'


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def sandbox(backend: str) -> Iterator[Sandbox]:
    opened = open_backend(
        backend,
        variables={"TOKEN": _TOKEN, "GIVEN": "given", "HIDDEN": "x"},
        env=["GIVEN"],
        secrets=["TOKEN"],
        **_LIMITS,
    )
    opened.describe()
    yield opened
    opened.close()


def test_tools_are_described_without_being_imported_here(sandbox: Sandbox) -> None:
    described = {tool.name: tool for tool in sandbox.describe()}

    assert described["add_later"].max_attempts == 3
    assert "tests.support.sandbox_tools" not in sys.modules


def test_the_level_is_what_stands_there(sandbox: Sandbox, backend: str) -> None:
    expected = {"container": "ns", "process": "none"}.get(backend, backend)
    outcome = run(sandbox, "add", a=1, b=2)

    assert sandbox.level is outcome.level is SandboxLevel(expected)
    assert outcome.detail["network"] == ("host" if backend == "process" else "none")


def test_results_errors_and_measures(sandbox: Sandbox) -> None:
    added, failed = run(sandbox, "add", a=1, b=2), run(sandbox, "fail", words="no such customer")

    assert (added.outcome, added.content, added.exit_code) == (CallOutcome.SUCCEEDED, "3", 0)
    assert added.wall_seconds > 0 and added.cpu_seconds >= 0
    assert run(sandbox, "add_later", a=1, b=2).content == "3"
    assert json.loads(run(sandbox, "weather", city="Oslo").content)["city"] == "Oslo"
    assert failed.outcome is CallOutcome.FAILED
    assert failed.content.startswith("ValueError: no such customer")
    assert "said on stdout" in failed.content and "said on stderr" in failed.content


@pytest.mark.parametrize(
    ("tool_name", "tool_args", "words"),
    [
        ("unwritable", {}, "'unwritable' is a lock"),
        ("leave", {"status": 3}, "exited with status 3"),
        ("leave", {"status": 3, "hard": True}, "exited with status 3"),
        ("leave", {"status": 0, "hard": True}, "status 0 and gave no result"),
        ("crash", {}, "killed by signal 11 (SIGSEGV)"),
        ("raise_with_bad_words", {}, "Spiteful"),
        ("no_such_tool", {}, "no tool named 'no_such_tool'"),
        ("add", {"a": "many", "b": 1}, "a"),
        ("answer_by_hand", {"answers": 2, "status": 0}, "cannot be read"),
        ("answer_by_hand", {"answers": 1, "status": 1}, "exited with status 1"),
        ("answer_raw", {"text": "NaN"}, "cannot be read"),
        ("answer_raw", {"text": '{"ok": true}'}, "wrong form"),
        ("answer_raw", {"text": '{"ok": 1, "content": "x", "truncated": false, "tools": []}'}, "wrong form"),
        ("deep", {}, "cannot be read"),
    ],
)
def test_whatever_is_no_full_answer_with_status_0_failed(
    sandbox: Sandbox, tool_name: str, tool_args: dict[str, Any], words: str
) -> None:
    outcome = run(sandbox, tool_name, **tool_args)

    assert outcome.outcome is CallOutcome.FAILED
    assert words in outcome.content


def test_one_good_answer_by_hand_is_an_answer(sandbox: Sandbox) -> None:
    # The counterpart of the cases above: they fail for their second answer and their status, not for their form.
    assert run(sandbox, "answer_by_hand", answers=1, status=0).content == "forged"


def test_the_environment_is_the_pools_list_and_secrets_never_leave(sandbox: Sandbox) -> None:
    environment = json.loads(run(sandbox, "environment").content)
    told = run(sandbox, "tell_variable", name="TOKEN", streams=True)

    assert environment["GIVEN"] == "given" and environment["TOKEN"] == "[secret TOKEN]"
    assert environment["ERRANDRY_IDEMPOTENCY_KEY"] == "run_1:2:call_3"
    assert "HIDDEN" not in environment and "OPENAI_API_KEY" not in environment
    assert "[secret TOKEN]" in told.content and "4711" not in told.content


def test_long_results_are_cut_in_the_middle(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "repeat", text="0123456789", times=100_000)

    assert outcome.outcome is CallOutcome.SUCCEEDED and outcome.truncated
    assert len(outcome.content.encode()) < 65 * 1024
    assert outcome.content.startswith("0123456789") and "bytes cut out here" in outcome.content


def test_time_is_limited(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "wait", seconds=60, timeout_seconds=0.5)

    assert outcome.outcome is CallOutcome.TIMED_OUT
    assert outcome.wall_seconds < 15


def test_cpu_time_is_limited(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "spin", processes=3)

    assert outcome.outcome is CallOutcome.TIMED_OUT
    assert "more than 2 s of CPU time" in outcome.content


@pytest.mark.parametrize("processes", [1, 8])
def test_memory_is_limited(sandbox: Sandbox, processes: int) -> None:
    outcome = run(sandbox, "hog", megabytes=320 // processes, processes=processes)

    assert outcome.outcome is CallOutcome.FAILED
    assert "128 MiB of memory" in outcome.content


def test_cancelling_ends_it_at_once(sandbox: Sandbox) -> None:
    sign, cancelled = mark(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run, sandbox, "wait", seconds=60, mark=sign, cancelled=cancelled)
        wait_until(lambda: marked(sign), "the tool runs")
        set_at = time.monotonic()
        cancelled.set()
        outcome = waiting.result(60)

    assert outcome.outcome is CallOutcome.CANCELLED
    assert time.monotonic() - set_at < 15
    wait_until(lambda: not marked(sign), "the tool is gone")


def test_calls_run_side_by_side(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(3) as threads:
        outcomes = list(threads.map(lambda n: run(sandbox, "add", a=n, b=1), range(6)))

    assert [outcome.content for outcome in outcomes] == [str(n + 1) for n in range(6)]


def test_tools_that_cannot_be_loaded_are_named(backend: str) -> None:
    sandbox = open_backend(backend, tools=("nowhere_at_all:tool",), **_LIMITS)
    with pytest.raises(ToolsUnreadableError, match="nowhere_at_all"):
        sandbox.describe()
    sandbox.close()


def test_a_closed_sandbox_says_so(backend: str) -> None:
    sandbox = open_backend(backend, **_LIMITS)
    sandbox.close()
    sandbox.close()

    with pytest.raises(SandboxUnavailableError, match="closed"):
        run(sandbox, "add", a=1, b=2)
