"""What every sandbox promises, whatever stands behind it.

Nothing is mocked: each call here is a real process, once behind the wall and once without one.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.processes import newest
from tests.support.sandboxes import ROOT, mark, marked, opened, run
from tests.support.waiting import wait_until
from workers.sandbox.base import Sandbox, SandboxLevel, SandboxUnavailableError, ToolsUnreadableError
from workers.sandbox.opening import open_sandbox
from workers.sandbox.watching import descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the wall is made of Linux namespaces")

PLAIN = SandboxSettings(level="none")


@pytest.fixture(scope="module")
def walled() -> Iterator[Sandbox]:
    sandbox = opened()
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Sandbox]:
    sandbox = opened(PLAIN)
    yield sandbox
    sandbox.close()


@pytest.fixture(params=["walled", "plain"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    chosen: Sandbox = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def project(tmp_path: Path) -> Path:
    # pytest makes its folders 0700; the folders above it stay closed, which a root worker has to overcome.
    tmp_path.chmod(0o755)
    return tmp_path


def test_describe_tells_what_the_supervisor_may_know(sandbox: Sandbox) -> None:
    described = {tool.name: tool for tool in sandbox.describe()}

    later = described["add_later"]
    assert later.description == "Add two numbers, asynchronously."
    assert later.parameters["required"] == ["a", "b"]
    assert (later.timeout_seconds, later.max_attempts, later.on_lost) == (7, 3, "retry")
    assert described["add"].on_lost == "report"
    assert "tests.support.sandbox_tools" not in sys.modules


def test_results_are_text_or_json(sandbox: Sandbox) -> None:
    assert run(sandbox, "add", a=1, b=2).content == "3"
    assert run(sandbox, "add_later", a=1, b=2).content == "3"
    assert json.loads(run(sandbox, "weather", city="Oslo").content) == {"city": "Oslo", "celsius": 21.5}
    assert run(sandbox, "surrogate").content == "a\ufffdb"
    assert run(sandbox, "repeat", text="größe", times=2).content == "größegröße"


def test_a_success_is_measured_from_outside(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "add", a=1, b=2)

    assert outcome.outcome is CallOutcome.SUCCEEDED
    assert outcome.exit_code == 0
    # A spare has put up its wall before the time of the call began, so the one may well be more than the other.
    assert outcome.wall_seconds > 0 and 0 < outcome.cpu_seconds < 5
    assert outcome.peak_memory_mb is not None and 0 < outcome.peak_memory_mb < 256
    assert outcome.level is sandbox.level
    assert not outcome.truncated


def test_a_failing_tool_is_an_outcome_with_its_own_words(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "fail", words="no such customer")

    assert outcome.outcome is CallOutcome.FAILED
    assert outcome.content.startswith("ValueError: no such customer")
    assert "stdout:\nsaid on stdout" in outcome.content
    assert "stderr:\nsaid on stderr" in outcome.content
    assert "Traceback" not in outcome.content
    assert "said on" not in run(sandbox, "tell", words="said on stderr").content.removeprefix("said on stderr")


def test_printing_an_answer_answers_nothing(sandbox: Sandbox) -> None:
    assert run(sandbox, "print_answer").content == "honest"


@pytest.mark.parametrize("tool_name", ["fork_and_return", "fork_and_raise"])
def test_a_forked_child_cannot_answer(sandbox: Sandbox, tool_name: str) -> None:
    assert run(sandbox, tool_name).content == "parent"


def test_a_thread_left_behind_does_not_hold_the_call(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "leave_thread_behind")

    assert outcome.content == "returned"
    assert outcome.wall_seconds < 20


def test_the_key_of_the_call_can_be_read(sandbox: Sandbox) -> None:
    environment = json.loads(run(sandbox, "environment").content)

    assert environment["ERRANDRY_IDEMPOTENCY_KEY"] == "run_1:2:call_3"
    assert run(sandbox, "own_call").content == "run_1:2:call_3"
    assert environment["HOME"] == "/tmp"


@pytest.mark.parametrize("settings", [SandboxSettings(env=("GIVEN",)), SandboxSettings(level="none", env=("GIVEN",))])
def test_the_environment_is_the_pools_list(settings: SandboxSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    sandbox = opened(settings, GIVEN="given", WITHHELD="withheld")

    environment = json.loads(run(sandbox, "environment").content)
    launchers = Path(f"/proc/{_youngest_launcher()}/environ").read_bytes()
    sandbox.close()

    assert launchers == b""
    assert environment.pop("GIVEN") == "given"
    usual = {"PATH", "HOME", "TMPDIR", "PWD", "LANG", "LC_CTYPE", "ERRANDRY_IDEMPOTENCY_KEY"}
    assert set(environment) <= usual


@pytest.mark.parametrize(
    "settings", [SandboxSettings(secrets=("TOKEN",)), SandboxSettings(level="none", secrets=("TOKEN",))]
)
def test_secrets_reach_the_tool_and_never_leave(settings: SandboxSettings) -> None:
    token = 'tok-"quoted"\n-é-4711'
    sandbox = opened(settings, TOKEN=token)

    plain_words = run(sandbox, "tell_variable", name="TOKEN")
    halved = run(sandbox, "tell_variable", name="TOKEN", padding=8 * 1024 - 7, streams=True)
    cut = run(sandbox, "tell_variable", name="TOKEN", padding=2_000_000)
    by_hand = run(sandbox, "give_away_by_hand", name="TOKEN")
    sandbox.close()

    assert json.loads(plain_words.content)["value"] == "[secret TOKEN]"
    assert halved.content.startswith("RuntimeError: [secret TOKEN]")
    assert halved.truncated and cut.truncated
    assert by_hand.content == "[secret TOKEN]"
    for outcome in (plain_words, halved, cut):
        assert "tok-" not in outcome.content
        assert "4711" not in outcome.content


def test_a_secret_that_the_worker_lacks_refuses_the_pool() -> None:
    with pytest.raises(SandboxUnavailableError, match=r"TOKEN.*Set TOKEN"):
        opened(SandboxSettings(secrets=("TOKEN",)), OTHER="x")


def test_long_results_are_cut_in_the_middle(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "repeat", text="0123456789", times=1_000_000)

    assert outcome.outcome is CallOutcome.SUCCEEDED
    assert outcome.truncated
    assert len(outcome.content.encode()) < 1024 * 1024 + 200
    assert outcome.content.startswith("0123456789") and outcome.content.endswith("0123456789")
    assert "bytes cut out here" in outcome.content


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood_costs_no_memory(sandbox: Sandbox, stream: str) -> None:
    before = _resident_mb()

    outcome = run(sandbox, "flood", megabytes=300, stream=stream, fails=True)

    assert outcome.content.startswith("RuntimeError: flooded")
    assert f"{stream}:\nfirst" in outcome.content and outcome.content.endswith("last")
    assert outcome.truncated
    assert _resident_mb() - before < 30


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def test_time_is_limited_by_the_pool_and_by_the_call(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "wait", seconds=60, timeout_seconds=1)

    assert outcome.outcome is CallOutcome.TIMED_OUT
    assert "stopped after 1 s" in outcome.content
    assert outcome.wall_seconds < 15


@pytest.mark.parametrize("level", ["ns", "none"])
def test_cpu_time_of_all_processes_is_limited(level: str) -> None:
    sandbox = opened(SandboxSettings.model_validate({"level": level, "cpu_seconds": 1, "wall_seconds": 20}))

    # So many that each for itself, limited by the kernel, would come to far more than what a late look may miss.
    alone, together = run(sandbox, "spin"), run(sandbox, "spin", processes=16)
    sandbox.close()

    for outcome in (alone, together):
        assert outcome.outcome is CallOutcome.TIMED_OUT
        assert "more than 1 s of CPU time" in outcome.content
        assert outcome.cpu_seconds < 8


def test_memory_of_all_processes_is_limited(sandbox: Sandbox) -> None:
    alone, together = run(sandbox, "hog", megabytes=400), run(sandbox, "hog", megabytes=40, processes=12)

    for outcome in (alone, together):
        assert outcome.outcome is CallOutcome.FAILED
        assert "more than 256 MiB of memory" in outcome.content
        assert outcome.peak_memory_mb is not None and outcome.peak_memory_mb >= 256


def test_shared_pages_count_once(sandbox: Sandbox) -> None:
    # Twelve forks of a process of about 40 MB: more than the limit if their common pages counted for each.
    assert run(sandbox, "hog", megabytes=1, processes=12, seconds=1).outcome is CallOutcome.SUCCEEDED


def test_cancelling_kills_at_once(sandbox: Sandbox) -> None:
    cancelled, sign = threading.Event(), mark()
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(run, sandbox, "wait", seconds=60, mark=sign, cancelled=cancelled)
        wait_until(lambda: marked(sign), "the tool runs")
        set_at = time.monotonic()
        cancelled.set()
        outcome = waiting.result(60)
        took = time.monotonic() - set_at

    assert outcome.outcome is CallOutcome.CANCELLED
    assert took < 15
    # Without a wall it has been killed by then, and may yet be ending.
    assert sandbox.level is SandboxLevel.NONE or not marked(sign)
    wait_until(lambda: not marked(sign), "the tool is gone")


def test_calls_run_side_by_side_and_leak_no_descriptor(sandbox: Sandbox) -> None:
    run(sandbox, "add", a=0, b=0)
    wait_until(_descriptors_stand_still, "the spares are ready")
    gc.collect()  # what other tests left to it is not to be closed in between
    before = _descriptors()

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda n: run(sandbox, "add", a=n, b=1), range(12)))
    for _ in range(3):
        run(sandbox, "crash")
        run(sandbox, "wait", seconds=60, timeout_seconds=0.05)

    assert [outcome.content for outcome in outcomes] == [str(n + 1) for n in range(12)]
    wait_until(lambda: _descriptors() == before, "nothing more is open than before")


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _descriptors_stand_still() -> bool:
    before = _descriptors()
    threading.Event().wait(0.3)
    return _descriptors() == before


def test_a_finished_thread_takes_no_call_along(sandbox: Sandbox) -> None:
    # The parent-death signal fires when a *thread* ends: a sandbox forked from this one would die with it.
    fresh = opened(PLAIN if sandbox.level is SandboxLevel.NONE else SandboxSettings())
    first = threading.Thread(target=run, args=(fresh, "add"), kwargs={"a": 1, "b": 2})
    with ThreadPoolExecutor(1) as threads:
        first.start()
        waiting = threads.submit(run, fresh, "wait", seconds=1)
        first.join()
        assert waiting.result(60).content == "waited"
    fresh.close()


def test_the_death_of_the_launcher_loses_its_calls_and_no_others(sandbox: Sandbox) -> None:
    fresh, sign = opened(PLAIN if sandbox.level is SandboxLevel.NONE else SandboxSettings()), mark()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run, fresh, "wait", seconds=60, mark=sign)
        wait_until(lambda: marked(sign), "the tool runs")
        os.kill(_youngest_launcher(), signal.SIGKILL)
        assert waiting.result(60).outcome is CallOutcome.LOST

    assert run(fresh, "add", a=1, b=2).content == "3"
    fresh.close()
    for pid in marked(sign):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # only without a wall can there be one


def _youngest_launcher() -> int:
    launchers = []
    for pid in descendants(os.getpid()):
        # Beside the launchers, processes of calls come and go.
        with contextlib.suppress(OSError):
            if b"sandbox.launcher" in Path(f"/proc/{pid}/cmdline").read_bytes():
                launchers.append(pid)
    return newest(launchers)


def test_a_closed_sandbox_says_so(sandbox: Sandbox) -> None:
    fresh = opened(PLAIN if sandbox.level is SandboxLevel.NONE else SandboxSettings())
    fresh.close()
    fresh.close()

    with pytest.raises(SandboxUnavailableError, match="closed"):
        run(fresh, "add", a=1, b=2)


@pytest.mark.parametrize("level", ["ns", "none"])
def test_kill_9_of_the_supervisor_leaves_nothing(level: str) -> None:
    sign = mark()
    script = (
        "from queues.settings import SandboxSettings\nfrom tests.support.sandboxes import opened, run\n"
        f"run(opened(SandboxSettings(level={level!r})), 'wait', seconds=60, mark={sign!r})"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    try:
        wait_until(lambda: marked(sign), "the tool runs", timeout_seconds=60)
    finally:
        supervisor.kill()
        supervisor.wait()

    wait_until(lambda: not marked(sign), "the tool is gone")


@pytest.mark.parametrize("level", ["ns", "none"])
def test_tools_that_cannot_be_loaded_are_named(level: str, project: Path) -> None:
    settings = SandboxSettings.model_validate({"level": level})
    (project / "broken.py").write_text("raise RuntimeError('at import')\n")
    (project / "twice.py").write_text(
        "def same():\n    'One.'\n\n\nclass More:\n    @staticmethod\n    def same():\n        'Two.'\n"
    )

    for tools, words in (
        (["nowhere_at_all:tool"], "nowhere_at_all"),
        (["broken:tool"], "at import"),
        (["twice:same", "twice:More.same"], "both give a tool named 'same'"),
    ):
        sandbox = open_sandbox(settings, tools=tools, project_dir=project)
        with pytest.raises(ToolsUnreadableError, match=words):
            sandbox.describe()
        sandbox.close()


@pytest.mark.parametrize("level", ["ns", "none"])
def test_the_project_is_the_current_folder_and_importable(level: str, project: Path) -> None:
    settings = SandboxSettings.model_validate({"level": level})
    (project / "prices.txt").write_text("12")
    (project / "shop.py").write_text(
        "def price():\n    'Read a file of the project.'\n    return open('prices.txt').read()\n"
    )

    sandbox = open_sandbox(settings, tools=["shop:price"], project_dir=project)
    outcome = run(sandbox, "price")
    sandbox.close()

    assert outcome.content == "12"
