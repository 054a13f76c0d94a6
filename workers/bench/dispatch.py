"""How long work lies between the processes while there is little of it: to the tool, and back to the agent."""

from __future__ import annotations

import time

from workers.bench.benchmark import Benchmark
from workers.bench.figures import Figure, Goal, Measure, Series
from workers.bench.model import prompt
from workers.bench.moments import Moments
from workers.bench.stage import Stage

NAME = "dispatch"
_PROMPT = prompt(calls=1)
_PAUSE_SECONDS = 0.03
_GOAL = Goal(of="p95", bound=25)
TOOL = Measure(name="submit to the tool's first line", unit="ms", floor_name="two Celery hops and SDK", goal=_GOAL)
CONTINUATION = Measure(
    name="settled to the continuation's first line", unit="ms", floor_name="one Celery hop", goal=_GOAL
)
MODEL = Measure(name="submit to the first request", unit="ms", floor_name="one Celery hop")
HAND_OUT = Measure(name="first request to the tool's first line", unit="ms", floor_name="one Celery hop")
BACK = Measure(name="the tool's first line to the second request", unit="ms", floor_name="one Celery hop")


def measure(stage: Stage) -> list[Figure]:
    """One run after the other, a bare chain and a bare request between them."""
    number = stage.size(200, 20)
    runs: list[Moments] = []
    chains: list[tuple[int, list[int]]] = []
    asked: list[int] = []
    for done in range(number + 1):
        for take in (_take_run, _take_floor) if done % 2 else (_take_floor, _take_run):
            time.sleep(_PAUSE_SECONDS)
            take(stage, runs, chains, asked)
        stage.progress(NAME, done, number)
    # The first of each opened connections.
    return _figures(runs[1:], chains[1:], asked[1:])


def _take_run(stage: Stage, runs: list[Moments], _chains: object, _asked: object) -> None:
    submitted = time.time_ns()
    output = stage.run(stage.rig.client.submit("caller", _PROMPT))
    runs.append(Moments.of(submitted, output, list(stage.rig.client.events(output.run_id, timeout=0))))


def _take_floor(stage: Stage, _runs: object, chains: list[tuple[int, list[int]]], asked: list[int]) -> None:
    sent = time.time_ns()
    chains.append((sent, stage.chain.run()))
    begun = time.perf_counter_ns()
    stage.requests.run(_PROMPT)
    asked.append((time.perf_counter_ns() - begun) // 2)


def _figures(runs: list[Moments], chains: list[tuple[int, list[int]]], asked: list[int]) -> list[Figure]:
    hop = [stamps[0] - sent for sent, stamps in chains]
    last_hop = [stamps[2] - stamps[1] for _, stamps in chains]
    two_hops = [stamps[1] - sent + request for (sent, stamps), request in zip(chains, asked, strict=True)]
    taken = [
        (TOOL, [run.tool_began - run.submitted for run in runs], two_hops),
        (MODEL, [run.model_asked - run.submitted for run in runs], hop),
        (HAND_OUT, [run.tool_began - run.model_asked for run in runs], last_hop),
        (CONTINUATION, [run.continued - run.settled for run in runs], last_hop),
        (BACK, [run.model_asked_again - run.tool_began for run in runs], last_hop),
    ]
    return [
        Figure.taken(NAME, what, Series.of(work, scale=1e-6), Series.of(floor, scale=1e-6))
        for what, work, floor in taken
    ]


DISPATCH = Benchmark(
    NAME,
    "How long a run waits between processes at low load, on its way to the tool and back.",
    (TOOL, MODEL, HAND_OUT, CONTINUATION, BACK),
    measure,
)
