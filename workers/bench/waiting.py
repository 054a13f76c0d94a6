"""What waiting costs: many model calls under way in one agent worker, and runs that are paused."""

from __future__ import annotations

from queues.connections import connect
from queues.embedded import EmbeddedServer
from workers.bench.benchmark import Benchmark
from workers.bench.figures import Figure, Goal, Measure, Series
from workers.bench.model import prompt
from workers.bench.pairs import compare
from workers.bench.pausing import Pausing, used_bytes
from workers.bench.processes import CAN_LOOK, peak_mb
from workers.bench.rig import open_rig
from workers.bench.stage import Stage

NAME = "waiting"
_AT_ONCE, _SECONDS = 200, 2
_POOL = "shell"
WALL = Measure(
    name=f"{_AT_ONCE} model calls of {_SECONDS} s at once in one agent worker",
    unit="s",
    floor_name="one of them",
    goal=Goal(of="ratio", bound=1.2),
)
MEMORY = Measure(name=f"memory of that agent worker with {_AT_ONCE} calls", unit="MB")
PAUSED = Measure(name="bytes of Redis per paused run", unit="bytes", floor_name="its messages")


def measure(stage: Stage) -> list[Figure]:
    """An agent worker with a place for each call; then runs that pause on a server of their own."""
    stage.stop_floor()
    return [*_at_once(stage), _paused(stage)]


def _at_once(stage: Stage) -> list[Figure]:
    rounds, asked = stage.size(5, 1), prompt(calls=0, steps=0, wait_seconds=_SECONDS)
    stage.progress(f"{NAME}, starting a wide agent worker", 0, 0)
    with open_rig(stage.settings("wide", agent_concurrency=_AT_ONCE)) as rig:

        def run(number: int) -> None:
            for flying in [rig.client.submit("caller", asked) for _ in range(number)]:
                stage.run(flying)

        comparison = compare(
            lambda: run(1),
            lambda: run(_AT_ONCE),
            pairs=rounds,
            on_pair=lambda done: stage.progress(NAME, done, rounds),
        )
        memory = peak_mb(rig.pids()["agent worker"]) if CAN_LOOK else None
    wall = Figure.taken(
        NAME,
        WALL,
        Series.of([cost.wall_seconds for cost in comparison.work]),
        Series.of([cost.wall_seconds for cost in comparison.floor]),
    )
    return [wall] if memory is None else [wall, Figure.taken(NAME, MEMORY, Series.of([memory]))]


def _paused(stage: Stage) -> Figure:
    runs, rounds = stage.size(1000, 100), stage.size(5, 2)
    work: list[float] = []
    with EmbeddedServer.start(stage.folder / "paused") as server, connect(server.url) as connection:
        connection.config_set("appendfsync", "everysec")
        pausing = Pausing(connection)
        run_id = pausing.pause_one(pool=_POOL)  # what the server needs once
        for done in range(rounds):
            stage.progress(f"{NAME}, paused runs", done, rounds)
            before = used_bytes(connection)
            for _ in range(runs):
                pausing.pause_one(pool=_POOL)
            # What workers would take from the queues.
            connection.delete("agents", f"tools.{_POOL}")
            work.append((used_bytes(connection) - before) / runs)
        text = pausing.text_bytes(run_id)
    return Figure.taken(NAME, PAUSED, Series.of(work), Series.of([text] * rounds))


WAITING = Benchmark(
    NAME,
    "Many model calls under way in one agent worker, and the bytes of runs that are paused.",
    (WALL, MEMORY, PAUSED),
    measure,
)
