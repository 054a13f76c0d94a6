"""Thousands of calls, honest and hostile, through one sandbox; afterwards nothing may have grown.

    python -m tests.hostile.soak --calls 5000 --level ns

It ends with status 1 and says what leaked, if anything did.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from queues.settings import SandboxSettings
from tests.support.hostile.host import MARK_VARIABLE, Host, fresh_mark
from tests.support.hostile.rows import LIMITS, tools
from workers.sandbox.base import Sandbox, SandboxCall
from workers.sandbox.opening import open_sandbox
from workers.sandbox.watching import descendants

# Each of these leaves something else behind if it is handled carelessly; the first is drawn most often.
_MIX: tuple[tuple[str, float | None], ...] = (
    *((("answer_in_many_scripts", None),) * 12),
    ("raise_an_error", None),
    ("leave_without_answer", None),
    ("answer_twice", None),
    ("dump_core", None),
    ("close_every_pipe", None),
    ("leave_in_scratch", None),
    ("leave_zombies", None),
    ("stay_as_daemon", None),
    ("stay_by_reparenting", None),
    ("hold_the_streams_open", None),
    ("give_a_huge_result", None),
    ("sleep_for_ever", 0.05),
    ("stay_and_never_return", 0.1),
    ("kill_everything", None),
)
# Before this many calls have been made, caches still fill.
_WARM_CALLS = 60
_SETTLING_SECONDS = 20


@dataclass(frozen=True)
class Held:
    """What the supervisor holds, from outside: counted when no call runs."""

    processes: int
    descriptors: int
    threads: int
    memory_mb: float
    memory_below_mb: float
    groups: int
    files: int

    @classmethod
    def now(cls) -> Held:
        """Counted anew."""
        gc.collect()
        below = descendants(os.getpid())
        return cls(
            processes=len(below),
            descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
            threads=threading.active_count(),
            memory_mb=_memory_mb(os.getpid()),
            memory_below_mb=sum(_memory_mb(pid) for pid in below),
            groups=sum(f"-{os.getpid()}-" in folder for folder, _, _ in os.walk("/sys/fs/cgroup")),
            files=sum(1 for place in ("/tmp", "/var/tmp", "/dev/shm") for _ in Path(place).glob("*errandry*")),
        )


# How much more of each is no leak: spare processes come and go, an allocator keeps what it has had, and neighbours on
# the machine make files of the same name.
_ALLOWED = Held(processes=3, descriptors=24, threads=2, memory_mb=25, memory_below_mb=80, groups=6, files=50)


def _memory_mb(pid: int) -> float:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss_Anon:")).split()[1]) / 1024
    return 0


def _settled(before: Held | None) -> Held:
    """The counts once they no longer shrink, or after a bound: the kernel may still be ending something."""
    until = time.monotonic() + _SETTLING_SECONDS
    held = Held.now()
    while before is not None and leaks(before, held) and time.monotonic() < until:
        time.sleep(0.1)
        held = Held.now()
    return held


def leaks(before: Held, after: Held) -> list[str]:
    """What has grown by more than is explained."""
    return [
        f"{name}: {was:g} before, {asdict(after)[name]:g} after"
        for name, was in asdict(before).items()
        if asdict(after)[name] - was > asdict(_ALLOWED)[name]
    ]


def soak(settings: SandboxSettings, *, calls: int, threads: int, seed: int, say: Callable[[str], None]) -> list[str]:
    """Make the calls, several at a time; returns what leaked and which honest calls failed."""
    ours = set(descendants(os.getpid()))
    with contextlib.closing(Host(bare=False)) as host:
        sandbox = open_sandbox(settings, tools=tools(), project_dir=host.project, environment={"LANG": "C.UTF-8"})
        with contextlib.closing(sandbox):
            sandbox.describe()
            targets = host.targets(LIMITS)
            names = [random.Random(f"{seed}:{number}").choice(_MIX) for number in range(calls)]
            outcomes: Counter[str] = Counter()
            before: Held | None = None
            with ThreadPoolExecutor(threads) as pool:
                for start in range(0, calls, batch := max(_WARM_CALLS, calls // 10)):
                    for said in pool.map(lambda name: _called(sandbox, targets, *name), names[start : start + batch]):
                        outcomes[said] += 1
                    held = _settled(before)
                    before = before or held
                    say(
                        f"{start + batch:6d} calls  "
                        + "  ".join(f"{key} {value:g}" for key, value in asdict(held).items())
                    )
            say(", ".join(f"{name}: {count}" for name, count in sorted(outcomes.items())))
            found = leaks(before, _settled(before)) if before is not None else []
            found += host.harm()
        left = set(descendants(os.getpid())) - ours
        found += [f"{len(left)} processes after the sandbox was closed"] if left else []
    return found + [f"{count} times {name}" for name, count in outcomes.items() if name.startswith("WRONG")]


def _called(sandbox: Sandbox, targets: dict[str, Any], name: str, timeout_seconds: float | None) -> str:
    call = SandboxCall(name, {"targets": targets}, "run_1:2:call_3", timeout_seconds=timeout_seconds)
    outcome = sandbox.run(call, cancelled=threading.Event())
    if name == "answer_in_many_scripts" and outcome.outcome != "succeeded":
        return f"WRONG {outcome.outcome}: {outcome.content[:200]}"
    return f"{name} {outcome.outcome}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--level", default="ns")
    asked = parser.parse_args()
    os.environ.setdefault(MARK_VARIABLE, fresh_mark())
    started_at = time.monotonic()
    settings = SandboxSettings.model_validate({**LIMITS, "level": asked.level})
    found = soak(settings, calls=asked.calls, threads=asked.threads, seed=asked.seed, say=print)
    seconds = time.monotonic() - started_at
    print(f"{asked.calls} calls in {seconds:.0f} s, {asked.calls / seconds:.0f} a second")
    print("nothing leaked" if not found else "\n".join(found))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
