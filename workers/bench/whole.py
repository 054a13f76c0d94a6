"""What a whole run takes from submit to done, with real processes and a real sandbox, over its bare equivalent."""

from __future__ import annotations

from workers.bench.benchmark import Benchmark
from workers.bench.figures import Figure, Goal, Measure, Series
from workers.bench.model import prompt
from workers.bench.pairs import compare
from workers.bench.stage import Stage

NAME = "whole"
# Between two calls of a pool there is at least Redis; in that time its spares are made again.
_PAUSE_SECONDS = 0.03
_FLOOR = "Celery chain of three, SDK, "
ONE = Measure(name="one call", unit="ms", floor_name=_FLOOR + "sandbox", goal=Goal(of="ratio", bound=1.5))
FIVE = Measure(name="five parallel calls", unit="ms", floor_name=_FLOOR + "five times sandbox")


def measure(stage: Stage) -> list[Figure]:
    """Runs one after the other, the floor between them."""
    return [_figure(stage, ONE, 1, stage.size(60, 8)), _figure(stage, FIVE, 5, stage.size(40, 5))]


def _figure(stage: Stage, taken: Measure, calls: int, pairs: int) -> Figure:
    asked, rig, chain, requests, bare_calls = prompt(calls=calls), stage.rig, stage.chain, stage.requests, stage.calls

    def floor() -> None:
        chain.run()
        requests.run(asked)
        bare_calls.run(calls)

    comparison = compare(
        floor,
        lambda: stage.run(rig.client.submit("caller", asked)),
        pairs=pairs,
        pause_seconds=_PAUSE_SECONDS,
        on_pair=lambda done: stage.progress(f"{NAME}, {taken.name}", done, pairs),
    )
    return Figure.taken(
        NAME,
        taken,
        Series.of([cost.wall_seconds for cost in comparison.work], scale=1000),
        Series.of([cost.wall_seconds for cost in comparison.floor], scale=1000),
    )


WHOLE = Benchmark(
    NAME,
    "A run from submit to done, with one and with five sandboxed calls, over the bare parts.",
    (ONE, FIVE),
    measure,
)
