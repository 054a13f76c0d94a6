"""How many runs a second this machine carries, what each of them costs every process, and what it asks of Redis."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from pydantic import JsonValue

from queues.client import RunHandle
from workers.bench.benchmark import Benchmark
from workers.bench.figures import Figure, Goal, Measure, Series
from workers.bench.model import prompt
from workers.bench.processes import CAN_LOOK, tree_cpu_seconds
from workers.bench.stage import Stage
from workers.bench.traffic import Traffic, overhearing
from workers.bench.wire import Wire

NAME = "throughput"
_PROMPT = prompt(calls=1)
_IN_FLIGHT = 32
_CLASSES = ("agent worker", "tool worker", "model", "producer", "server")

_CHAIN = "Celery chain of three"
RUNS = Measure(
    name=f"runs of one call, {_IN_FLIGHT} in flight",
    unit="runs/s",
    floor_name="Celery chains",
    better="more",
    goal=Goal(of="median", bound=100),
)
CPU_OF_ALL = Measure(name="CPU of a run, all but the model", unit="ms", floor_name=_CHAIN)
CPU = {name: Measure(name=f"CPU of a run, {name}", unit="ms") for name in _CLASSES}
TRIPS = Measure(name="round trips of a run", unit="trips")
BYTES_IN = Measure(name="bytes of a run to Redis", unit="kB")
BYTES_OUT = Measure(name="bytes of a run from Redis", unit="kB")
SENT = Measure(name="commands of a run", unit="commands", goal=Goal(of="median", bound=30))
IN_SCRIPTS = Measure(name="commands of a run within scripts", unit="commands")

Taken = dict[Measure, list[float]]


def measure(stage: Stage) -> list[Figure]:
    """Blocks of runs and of bare chains, turn about; then, without the floor, what the runs ask of Redis."""
    runs, blocks = stage.size(300, 40), stage.size(7, 3)
    work: Taken = {}
    floor: Taken = {}
    _carry_through(stage, _IN_FLIGHT)
    stage.chain.run_many(_IN_FLIGHT, in_flight=_IN_FLIGHT)
    for block in range(blocks):
        stage.progress(f"{NAME}, blocks of {runs} runs", block, blocks)
        for take, into in ((_runs, work), (_chains, floor)) if block % 2 else ((_chains, floor), (_runs, work)):
            for what, sample in take(stage, runs).items():
                into.setdefault(what, []).append(sample)
    stage.stop_floor()
    blocks = stage.size(5, 2)
    for block in range(blocks):
        stage.progress(f"{NAME}, bytes", block, blocks)
        for what, sample in _wire(stage, stage.size(100, 20)).items():
            work.setdefault(what, []).append(sample)
    figures = [
        Figure.taken(NAME, what, Series.of(samples), Series.of(floor[what]) if what in floor else None)
        for what, samples in work.items()
    ]
    return [*figures, *_commands(stage)]


def _runs(stage: Stage, runs: int) -> dict[Measure, float]:
    pids = {**stage.rig.pids(), "model": stage.model.pid}
    cpu, begun = _cpu(stage, pids), time.perf_counter()
    _carry_through(stage, runs)
    seconds = time.perf_counter() - begun
    spent = {name: 1000 * (used - cpu[name]) / runs for name, used in _cpu(stage, pids).items()}
    ours = sum(milliseconds for name, milliseconds in spent.items() if name != "model")
    return {RUNS: runs / seconds, CPU_OF_ALL: ours} | {CPU[name]: spent[name] for name in spent}


def _chains(stage: Stage, number: int) -> dict[Measure, float]:
    pids = {str(pid): pid for pid in stage.chain.pids}
    cpu, begun = _cpu(stage, pids), time.perf_counter()
    stage.chain.run_many(number, in_flight=_IN_FLIGHT)
    seconds = time.perf_counter() - begun
    spent = sum(_cpu(stage, pids).values()) - sum(cpu.values())
    return {RUNS: number / seconds, CPU_OF_ALL: 1000 * spent / number}


def _wire(stage: Stage, runs: int) -> dict[Measure, float]:
    before = Wire.of(stage.rig.admin)
    _carry_through(stage, runs)
    spent = Wire.of(stage.rig.admin).since(before)
    return {
        TRIPS: spent.round_trips / runs,
        BYTES_IN: spent.bytes_in / runs / 1000,
        BYTES_OUT: spent.bytes_out / runs / 1000,
    }


def _carry_through(stage: Stage, runs: int) -> None:
    """Submit so many runs, always as many at once as may be in flight, and wait for the oldest."""
    flying: deque[RunHandle] = deque()
    for done in range(runs):
        while len(flying) < min(_IN_FLIGHT, runs - done):
            flying.append(stage.rig.client.submit("caller", _PROMPT))
        stage.run(flying.popleft())


def _cpu(stage: Stage, pids: Mapping[str, int]) -> dict[str, float]:
    """Seconds so far of these processes, of this one, and of the server."""
    looked = {name: tree_cpu_seconds(pid) for name, pid in pids.items()} if CAN_LOOK else {}
    return {**looked, "producer": time.process_time(), "server": Wire.of(stage.rig.admin).cpu_seconds}


def _commands(stage: Stage) -> list[Figure]:
    runs, blocks = stage.size(30, 10), stage.size(3, 2)
    heard: list[Traffic] = []
    for block in range(blocks):
        stage.progress(f"{NAME}, commands", block, blocks)
        with overhearing(stage.rig.admin) as traffic:
            _carry_through(stage, runs)
        heard.append(traffic)
    stage.note("commands of a run", _by_name(heard[-1], runs))
    return [
        Figure.taken(NAME, SENT, Series.of([sum(traffic.sent.values()) / runs for traffic in heard])),
        Figure.taken(NAME, IN_SCRIPTS, Series.of([sum(traffic.in_scripts.values()) / runs for traffic in heard])),
    ]


def _by_name(traffic: Traffic, runs: int) -> dict[str, JsonValue]:
    """Per run: the commands of each sender, and of all scripts together; the most frequent first."""
    senders: dict[str, dict[str, JsonValue]] = {}
    for (sender, name), number in traffic.sent.most_common():
        senders.setdefault(sender, {})[name] = round(number / runs, 2)
    senders["within scripts"] = {name: round(number / runs, 2) for name, number in traffic.in_scripts.most_common()}
    return dict(senders)


THROUGHPUT = Benchmark(
    NAME,
    "Runs a second with many in flight; CPU, commands, round trips and bytes of each.",
    (RUNS, CPU_OF_ALL, *CPU.values(), TRIPS, BYTES_IN, BYTES_OUT, SENT, IN_SCRIPTS),
    measure,
)
