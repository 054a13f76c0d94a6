"""What calls of one zygote owe each other: nothing; and what becomes of them when it dies, hangs or is replaced.

Nothing is mocked: zygotes are real and are killed and stopped by hand.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.processes import newest
from tests.support.sandboxes import ROOT, mark, marked, opened, run
from tests.support.waiting import is_running, wait_until
from tests.support.zygote_project import write_tools
from workers.sandbox.base import Sandbox
from workers.sandbox.opening import open_sandbox
from workers.sandbox.watching import descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the wall is made of Linux namespaces")


@pytest.fixture
def calm(tmp_path: Path) -> Iterator[Sandbox]:
    with closing(_opened(tmp_path, "calm")) as sandbox:
        sandbox.describe()
        yield sandbox


def _opened(folder: Path, module: str, settings: SandboxSettings | None = None, **variables: str) -> Sandbox:
    names = ["loaded_at", "remember", "chance", "wait"] if module == "calm" else ["answer"]
    return open_sandbox(
        settings or SandboxSettings(),
        tools=[f"{module}:{name}" for name in names],
        project_dir=write_tools(folder, module),
        environment=variables or None,
    )


def _zygotes() -> list[int]:
    """The zygotes below this process: the first processes inside the outer walls."""
    return [pid for pid in descendants(os.getpid()) if _is_zygote(pid)]


def _is_zygote(pid: int) -> bool:
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"sandbox.zygote" in words and status["NSpid"].split()[1:] == ["1"]


def _newest_zygote() -> int:
    wait_until(lambda: bool(_zygotes()), "there is a zygote")
    return newest(_zygotes())


def _children_wait(zygote: int, count: int) -> None:
    wait_until(lambda: len(descendants(zygote)) >= count, f"{count} children wait")


def test_tools_are_loaded_once_and_every_call_finds_them_untouched(calm: Sandbox) -> None:
    first, second = run(calm, "loaded_at"), run(calm, "loaded_at")

    assert first.content == second.content
    assert first.detail["preloaded"] is True
    assert [run(calm, "remember", word=word).content for word in ("one", "two")] == ['["one"]', '["two"]']


def test_canaries_of_workers_that_were_killed_are_forgotten(tmp_path: Path) -> None:
    left, fresh = (Path(f"/tmp/errandry-canary-{os.getpid()}-{name}") for name in ("left", "fresh"))
    fresh.touch()
    left.touch()
    os.utime(left, (0, 0))
    try:
        _opened(tmp_path, "calm").close()
        assert not left.exists() and fresh.exists()
    finally:
        fresh.unlink()


def test_no_call_draws_the_numbers_of_another(calm: Sandbox) -> None:
    drawn = [json.loads(run(calm, "chance").content) for _ in range(4)]

    for column in zip(*drawn, strict=True):
        assert len(set(column)) == 4


def test_the_time_that_a_spare_has_waited_is_not_the_calls(calm: Sandbox) -> None:
    _children_wait(_newest_zygote(), 1)
    threading.Event().wait(5)

    outcome = run(calm, "wait", seconds=0.2, timeout_seconds=4.8)

    assert outcome.content == "waited"
    assert outcome.detail["spare"] is True
    assert outcome.wall_seconds < 4.8


@pytest.mark.parametrize("spares", [0, 2])
def test_calls_side_by_side_find_only_themselves(spares: int, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    settings = SandboxSettings(spares=spares, wall_seconds=60, read_write=(f"{tmp_path}:/meeting",))
    with closing(opened(settings)) as sandbox, ThreadPoolExecutor(6) as threads:
        # All at the same time, for a namespace's number is free again when it has ended.
        together = threads.map(lambda _: run(sandbox, "surroundings", meeting="/meeting", members=6), range(6))
        seen = [json.loads(outcome.content) for outcome in together]

    assert all(one["processes"] == [1] and one["descriptors"] == [0, 1, 2, 3, 4] for one in seen)
    for kind in ("pid", "mnt", "ipc", "net", "uts", "user", "cgroup"):
        assert len({one["namespaces"][kind] for one in seen}) == len(seen)


def test_nothing_of_a_call_is_there_for_the_next_one() -> None:
    with closing(opened()) as sandbox:
        left = run(sandbox, "leave_traces")
        found = run(sandbox, "find_traces")

    assert set(json.loads(left.content)) >= {"/tmp/trace", "/dev/shm/trace", "terminal", "abstract socket"}
    assert found.content == "[]"


def test_a_zygote_that_was_killed_is_replaced_and_its_spares_are_not_missed(calm: Sandbox) -> None:
    zygote = _newest_zygote()
    _children_wait(zygote, 2)
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: not is_running(zygote), "it is gone")

    assert run(calm, "wait", seconds=0).content == "waited"
    assert _newest_zygote() != zygote


def test_a_call_whose_zygote_is_killed_is_lost_in_clear_words() -> None:
    sign = mark()
    with closing(opened()) as sandbox, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run, sandbox, "wait", seconds=60, mark=sign)
        wait_until(lambda: marked(sign), "the tool runs")
        os.kill(_newest_zygote(), signal.SIGKILL)
        outcome = waiting.result(60)
        assert outcome.outcome is CallOutcome.LOST
        assert "whether the tool had an effect is not known" in outcome.content
        assert not marked(sign)
        assert run(sandbox, "add", a=1, b=2).content == "3"


def test_a_zygote_that_hangs_is_killed_with_all_that_is_in_it() -> None:
    sign, cancelled = mark(), threading.Event()
    with closing(opened(SandboxSettings(spares=1))) as sandbox, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run, sandbox, "wait", seconds=60, mark=sign, cancelled=cancelled)
        wait_until(lambda: marked(sign), "the tool runs")
        hung = _newest_zygote()
        os.kill(hung, signal.SIGSTOP)
        cancelled.set()
        outcome = waiting.result(60)
        assert outcome.outcome is CallOutcome.CANCELLED
        assert outcome.exit_code is None
        assert not marked(sign)
        assert not is_running(hung)
        assert run(sandbox, "add", a=1, b=2).content == "3"


def test_a_worn_out_zygote_is_followed_by_a_new_one_while_its_calls_go_on() -> None:
    with (
        closing(opened(SandboxSettings(spares=1, recycle_after=4))) as sandbox,
        ThreadPoolExecutor(1) as threads,
    ):
        first = _newest_zygote()
        waiting = threads.submit(run, sandbox, "wait", seconds=3)
        _children_wait(first, 1)
        for _ in range(5):
            assert run(sandbox, "add", a=1, b=2).content == "3"
        wait_until(lambda: _newest_zygote() != first, "there is a new zygote")
        assert waiting.result(60).content == "waited"
        wait_until(lambda: not is_running(first), "the old one is gone")


@pytest.mark.parametrize(
    ("module", "reason", "answer"),
    [
        ("threaded", "threads", "with 2 threads"),
        ("holding", "open files", "\nSTREAM = open(__file__)\n"),
        ("littering", "files in /tmp", "from the import"),
        ("needy", "TOKEN", "9"),
        ("deadly", "without a word", "alive"),
    ],
)
def test_tools_that_cannot_be_preloaded_are_loaded_by_each_call(
    module: str, reason: str, answer: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = SandboxSettings.model_validate({"secrets": ["TOKEN"]})
    with (
        caplog.at_level(logging.WARNING),
        closing(_opened(tmp_path, module, settings, TOKEN="tok-12345")) as sandbox,
    ):
        assert [tool.name for tool in sandbox.describe()] == ["answer"]
        outcomes = [run(sandbox, "answer") for _ in range(2)]

    assert [outcome.content for outcome in outcomes] == [answer] * 2
    assert outcomes[0].detail["preloaded"] is False
    said = [record.getMessage() for record in caplog.records if "loaded anew for each call" in record.getMessage()]
    assert len(said) == 1 and reason in said[0]


def test_what_must_be_hidden_stays_hidden_when_it_is_replaced(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    hidden = tmp_path / ".env"
    hidden.write_text("canary")
    with closing(opened(project_dir=tmp_path)) as sandbox:
        assert run(sandbox, "read_file", path=str(hidden)).outcome is CallOutcome.FAILED
        (tmp_path / "new").write_text("another canary")
        (tmp_path / "new").replace(hidden)
        outcome = run(sandbox, "read_file", path=str(hidden))

    assert outcome.outcome is CallOutcome.FAILED
    assert "canary" not in outcome.content


def test_kill_9_of_the_supervisor_takes_zygote_and_spares_along() -> None:
    script = (
        "import sys\nfrom tests.support.sandboxes import opened, run\nsandbox = opened()\n"
        "run(sandbox, 'add', a=1, b=2)\nprint('ready', flush=True)\nrun(sandbox, 'wait', seconds=60)"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert supervisor.stdout is not None and supervisor.stdout.readline() == "ready\n"
        wait_until(lambda: len(descendants(supervisor.pid)) >= 5, "launcher, bubblewrap, zygote and children live")
        below = descendants(supervisor.pid)
    finally:
        supervisor.kill()
        supervisor.communicate()

    wait_until(lambda: not any(map(is_running, below)), "all are gone")


@pytest.mark.parametrize(
    ("tool_name", "tool_args", "words"),
    [
        ("many_files", {"wanted": 30000}, "may write 64 MiB and 16384 files to /tmp"),
        ("open_many", {"wanted": 400}, "may have 256 files open"),
        ("answer_raw", {"text": "9" * 5000}, "cannot be read"),
        ("flood_answer", {"megabytes": 64}, "gave a result of more than 1024 KiB"),
        ("close_everything", {}, "gave no result"),
        ("half_an_answer", {}, "cannot be read"),
        ("answer_from_two_processes", {}, "cannot be read"),
    ],
)
def test_hostile_and_clumsy_calls_fail_in_words_that_help(
    tool_name: str, tool_args: dict[str, Any], words: str
) -> None:
    with closing(opened()) as sandbox:
        outcome = run(sandbox, tool_name, **tool_args)
        assert outcome.outcome is CallOutcome.FAILED
        assert words in outcome.content
        assert run(sandbox, "add", a=1, b=2).content == "3"


def test_a_process_that_holds_the_pipes_open_holds_nobody_up() -> None:
    with closing(opened()) as sandbox:
        begun = time.monotonic()
        outcome = run(sandbox, "hold_pipes")

    assert outcome.content == "returned"
    assert time.monotonic() - begun < 25
