"""What it takes until anything runs: imports and memory of each kind of process, and a cold start of all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from workers.bench.benchmark import Benchmark
from workers.bench.figures import Figure, Measure, Series
from workers.bench.floor import open_chain
from workers.bench.interpreters import Loaded, run_fresh
from workers.bench.model import prompt
from workers.bench.processes import CAN_LOOK, resident_mb
from workers.bench.rig import open_rig
from workers.bench.stage import Stage

NAME = "start-up"
_CELERY = "import celery.bin.worker, celery.apps.worker, celery.concurrency.thread, kombu.transport.redis, redis"


@dataclass(frozen=True)
class Kind:
    """A kind of process: what it loads, and what it would load without us."""

    name: str
    lines: str
    floor_name: str
    floor_lines: str

    @property
    def cpu(self) -> Measure:
        """CPU of its imports."""
        return Measure(name=f"imports of {self.name}: CPU", unit="ms", floor_name=self.floor_name)

    @property
    def memory(self) -> Measure:
        """Memory after them."""
        return Measure(name=f"imports of {self.name}: memory", unit="MB", floor_name=self.floor_name)


_KINDS = (
    Kind("the client", "import queues.client; queues.client.Client('redis://localhost')", "redis-py", "import redis"),
    Kind("an agent in process", "import openai, agent_core.agent", "the SDK", "import openai"),
    Kind(
        "the agent worker",
        "import workers.commands.workers_command, workers.agent_worker, agent_core.models.openai_sdk",
        "Celery and the SDK",
        f"{_CELERY}, openai",
    ),
    Kind(
        "the tool worker",
        "import workers.commands.workers_command, workers.tool_worker",
        "Celery",
        _CELERY,
    ),
    Kind("the sandboxed child", "import workers.sandbox.runner", "a bare interpreter", "pass"),
)
COLD = Measure(name="all processes of `errandry up` ready", unit="s", floor_name="three Celery workers")
RESIDENT = {name: Measure(name=f"memory of {name} after its first runs", unit="MB") for name in
            ("agent worker", "tool worker")}  # fmt: skip
CHILD = Measure(name="memory of a sandboxed call that does nothing", unit="MB")


def measure(stage: Stage) -> list[Figure]:
    """Fresh interpreters and fresh processes, the floor turn about with each."""
    return [*_imports(stage), *_running(stage), _cold(stage)]


def _imports(stage: Stage) -> list[Figure]:
    bytecode, rounds = stage.folder / "bytecode", stage.size(9, 2)
    taken: dict[str, list[Loaded]] = {}
    for done in range(rounds + 1):
        for kind in _KINDS:
            both = (kind.lines, kind.floor_lines)
            for lines in both if done % 2 else reversed(both):
                taken.setdefault(lines, []).append(run_fresh(lines, bytecode=bytecode))
        stage.progress(f"{NAME}, imports", done, rounds)
    figures = []
    for kind in _KINDS:
        # The first round compiled the modules.
        work, floor = taken[kind.lines][1:], taken[kind.floor_lines][1:]
        figures += [
            Figure.taken(
                NAME,
                kind.cpu,
                Series.of([loaded.cpu_seconds for loaded in work], scale=1000),
                Series.of([loaded.cpu_seconds for loaded in floor], scale=1000),
            ),
            Figure.taken(
                NAME,
                kind.memory,
                Series.of([loaded.resident_mb for loaded in work]),
                Series.of([loaded.resident_mb for loaded in floor]),
            ),
        ]
    return figures


def _running(stage: Stage) -> list[Figure]:
    outputs = [stage.run(stage.rig.client.submit("caller", prompt(calls=1))) for _ in range(stage.size(20, 5))]
    peaks = [call.metrics.peak_memory_mb for output in outputs for call in output.tools if call.metrics is not None]
    known = [peak for peak in peaks if peak is not None]
    figures = [Figure.taken(NAME, CHILD, Series.of(known))] if known else []
    if CAN_LOOK:
        pids = stage.rig.pids()
        figures += [Figure.taken(NAME, what, Series.of([resident_mb(pids[name])])) for name, what in RESIDENT.items()]
    return figures


def _cold(stage: Stage) -> Figure:
    rounds, numbers = stage.size(3, 1), count()
    stage.stop_floor()
    url = stage.rig.url
    work: list[float] = []
    floor: list[float] = []

    def start_all() -> None:
        settings = stage.settings(f"cold{next(numbers)}")
        begun = time.perf_counter()
        with open_rig(settings, with_pages=True):
            work.append(time.perf_counter() - begun)

    def start_floor() -> None:
        begun = time.perf_counter()
        with open_chain(url, folder=stage.folder, environment=dict(os.environ)):
            floor.append(time.perf_counter() - begun)

    both: tuple[Callable[[], None], ...] = (start_floor, start_all)
    for done in range(rounds):
        stage.progress(f"{NAME}, all processes", done, rounds)
        for start in both if done % 2 else reversed(both):
            start()
    return Figure.taken(NAME, COLD, Series.of(work), Series.of(floor))


START_UP = Benchmark(
    NAME,
    "Imports and memory of each kind of process, and a cold start of all of them.",
    (*(taken for kind in _KINDS for taken in (kind.cpu, kind.memory)), CHILD, *RESIDENT.values(), COLD),
    measure,
)
