"""What a sandboxed call costs on a warm pool, against a bare fork and against a new interpreter behind bubblewrap."""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.sandboxes import opened, run
from tests.support.waiting import wait_until
from workers.sandbox.base import Sandbox
from workers.sandbox.bubblewrap import find_bubblewrap
from workers.sandbox.watching import descendants

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

ROUNDS = 60
# Between two calls of a pool there is at least Redis; in that time its spares are made again.
PAUSE_SECONDS = 0.03


@pytest.fixture
def pools() -> Iterator[Mapping[int, Sandbox]]:
    with ExitStack() as stack:
        opened_pools = {
            spares: stack.enter_context(closing(opened(SandboxSettings(spares=spares)))) for spares in (2, 0)
        }
        for sandbox in opened_pools.values():
            sandbox.describe()
        yield opened_pools


def _bare_fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _behind_bubblewrap(*command: str) -> Callable[[], object]:
    words = [str(find_bubblewrap()), "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--tmpfs", "/tmp"]
    return lambda: subprocess.run([*words, *command], check=True, capture_output=True)


def _calling(sandbox: Sandbox, tool_name: str, **tool_args: Any) -> Callable[[], object]:
    def call() -> None:
        assert run(sandbox, tool_name, **tool_args).outcome is CallOutcome.SUCCEEDED

    return call


def _measured(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each piece of work, taken turn about."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name, work in works.items() if number % 2 else reversed(list(works.items())):
            begun = time.perf_counter()
            work()
            taken[name].append((time.perf_counter() - begun) * 1000)
            time.sleep(PAUSE_SECONDS)
    return taken


def _table(title: str, taken: Mapping[str, Sequence[float]], *, floor: str) -> str:
    below = statistics.median(taken[floor])
    lines = [f"\n{title} ({len(taken[floor])} rounds, turn about; milliseconds)"]
    for name, values in taken.items():
        low, middle, high = statistics.quantiles(values, n=4)
        lines.append(f"  {name:52}p50 {middle:6.2f} [{low:.2f} to {high:.2f}]   above the floor {middle - below:6.2f}")
    return "\n".join(lines)


def test_a_python_tool_on_a_warm_pool(pools: Mapping[int, Sandbox], capsys: pytest.CaptureFixture[str]) -> None:
    interpreter = _behind_bubblewrap(sys.executable, "-I", "-c", "import pydantic")
    works: dict[str, Callable[[], object]] = {
        "bare fork, exit and wait in this process": _bare_fork,
        "Python tool, 2 spares": _calling(pools[2], "add", a=1, b=2),
        "Python tool, no spare": _calling(pools[0], "add", a=1, b=2),
    }
    taken = _measured(works, ROUNDS)
    anew = _measured({"bubblewrap and a new interpreter": interpreter}, 10)
    with capsys.disabled():
        print(_table("A Python tool", {**taken, **anew}, floor="bare fork, exit and wait in this process"))


def test_a_shell_tool_on_a_warm_pool(pools: Mapping[int, Sandbox], capsys: pytest.CaptureFixture[str]) -> None:
    works = {
        "bubblewrap's own sh -c true": _behind_bubblewrap("sh", "-c", "true"),
        "shell tool, 2 spares": _calling(pools[2], "shell", command="true"),
        "shell tool, no spare": _calling(pools[0], "shell", command="true"),
    }
    with capsys.disabled():
        print(_table("A shell tool", _measured(works, ROUNDS), floor="bubblewrap's own sh -c true"))


def test_calls_per_second(pools: Mapping[int, Sandbox], capsys: pytest.CaptureFixture[str]) -> None:
    cores, calls = os.cpu_count() or 1, 200
    lines = []
    for spares, sandbox in pools.items():
        with ThreadPoolExecutor(2 * cores) as threads:
            begun = time.perf_counter()
            list(threads.map(lambda n, sandbox=sandbox: run(sandbox, "add", a=n, b=1), range(calls)))
            per_second = calls / (time.perf_counter() - begun)
        lines.append(f"  {spares} spares: {per_second:.0f} calls/s on {cores} cores, {per_second / cores:.0f} per core")
    with capsys.disabled():
        print("\nCalls per second, without a pause\n" + "\n".join(lines))


def test_memory_of_spares(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(opened(SandboxSettings(spares=8))) as sandbox:
        sandbox.describe()
        wait_until(lambda: len(_spares()) == 8, "all spares wait")
        spares = _spares()
        own = [_own_kb(pid) for pid in spares]
    with capsys.disabled():
        print(f"\nMemory of a spare, its own: {statistics.median(own) / 1024:.1f} MiB ({len(own)} spares)")


def _spares() -> list[int]:
    return [pid for pid in descendants(os.getpid()) if _depth(pid) == 3]


def _depth(pid: int) -> int:
    """In how many pid namespaces, one inside the other, the process lives; 0 if it has ended."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(len(line.split()) - 1 for line in lines if line.startswith("NSpid:"))
    return 0


def _own_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))
