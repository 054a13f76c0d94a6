"""Whether a run costs more where there is more: in a long session, beside many paused runs, in a long conversation.

Flat is what they should be: the text that a step adds is the same at each place that is compared. One thing grows
with a conversation: whoever carries it on reads what was said.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from agent_core.run import RunOutput
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.redis_url import project_roles
from queues.topology import AGENTS_QUEUE
from workers.bench.benchmark import Benchmark
from workers.bench.figures import Figure, Goal, Measure, Series
from workers.bench.model import prompt
from workers.bench.pausing import Pausing
from workers.bench.rig import CALLER, REMEMBERER, Rig, open_rig
from workers.bench.stage import Stage
from workers.bench.wire import Wire

NAME = "growth"
_ONE_CALL = prompt(calls=1)
_FLAT = Goal(of="ratio", bound=1.25)
_SHORT_SESSION = 5
_STEPS_COMPARED = 5


def _all(name: str, floor_name: str, *, reads: Goal | None = _FLAT) -> tuple[Measure, Measure, Measure]:
    return (
        Measure(name=f"{name}: time", unit="ms", floor_name=floor_name, goal=_FLAT),
        Measure(name=f"{name}: written", unit="kB", floor_name=floor_name, goal=_FLAT),
        Measure(name=f"{name}: read", unit="kB", floor_name=floor_name, goal=reads),
    )


SESSION = _all("a run in a long session", "in a short one")
PAUSED = _all("a run beside many paused ones", "beside none")
STEP = _all("a step late in a long conversation", "early in it", reads=None)


@dataclass(frozen=True)
class Sample:
    """What one run, or one step, took: time, and bytes to Redis and from it."""

    milliseconds: float
    written: float
    read: float


Take = Callable[[], Sample]


def measure(stage: Stage) -> list[Figure]:
    """Runs one after the other, the small place and the large one turn about."""
    stage.stop_floor()
    stage.note(
        "growth compares",
        {
            "sessions of": f"{_SHORT_SESSION} and {_long_session(stage)} runs",
            "paused runs": f"0 and {_paused_runs(stage)}",
            "conversations of": f"{2 * _STEPS_COMPARED} and {2 * _steps(stage)} messages",
        },
    )
    return [*_sessions(stage), *_beside_paused_runs(stage), *_conversations(stage)]


def _long_session(stage: Stage) -> int:
    return stage.size(100, 15)


def _paused_runs(stage: Stage) -> int:
    return stage.size(10_000, 300)


def _steps(stage: Stage) -> int:
    return stage.size(100, 25)


def _sessions(stage: Stage) -> list[Figure]:
    def filled(session_id: str, runs: int) -> str:
        for _ in range(runs):
            _sample(stage, stage.rig, agent=REMEMBERER, session_id=session_id)
        return session_id

    def short() -> Sample:
        # A new one each time, since each run makes it longer.
        session_id = filled(f"short-{time.monotonic_ns()}", _SHORT_SESSION)
        return _sample(stage, stage.rig, agent=REMEMBERER, session_id=session_id)

    stage.progress(f"{NAME}, filling a session", 0, 0)
    long_id = filled("long", _long_session(stage))
    pairs = stage.size(15, 3)
    floor, work = _turn_about(
        stage, short, lambda: _sample(stage, stage.rig, agent=REMEMBERER, session_id=long_id), pairs
    )
    return _figures(SESSION, floor, work)


def _beside_paused_runs(stage: Stage) -> list[Figure]:
    with _crowded(stage, _paused_runs(stage)) as crowded:
        floor, work = _turn_about(
            stage, lambda: _sample(stage, stage.rig), lambda: _sample(stage, crowded), stage.size(30, 6)
        )
    return _figures(PAUSED, floor, work)


def _conversations(stage: Stage) -> list[Figure]:
    steps, rounds = _steps(stage), stage.size(7, 2)
    floor, work = list[Sample](), list[Sample]()
    for done in range(rounds):
        stage.progress(f"{NAME}, conversations", done, rounds)
        outputs, bytes_of = {}, {}
        for length in (_STEPS_COMPARED, 2 * _STEPS_COMPARED, steps - _STEPS_COMPARED, steps):
            before = Wire.of(stage.rig.admin)
            outputs[length] = stage.run(stage.rig.client.submit(CALLER, prompt(calls=1, steps=length)))
            bytes_of[length] = Wire.of(stage.rig.admin).since(before)
        between = _milliseconds_of_steps(outputs[steps])
        for samples, place, longer in (
            (floor, between[1 : 1 + _STEPS_COMPARED], 2 * _STEPS_COMPARED),
            (work, between[-_STEPS_COMPARED:], steps),
        ):
            added = bytes_of[longer].since(bytes_of[longer - _STEPS_COMPARED])
            samples.append(_sample_of(statistics.median(place), added, steps=_STEPS_COMPARED))
    return _figures(STEP, floor, work)


def _milliseconds_of_steps(output: RunOutput) -> list[float]:
    """From one request that the model got to the next, through the whole run."""
    asked = [int(str(call.tool_args["asked_at"])) for call in output.tools] + [int(str(output.content))]
    return [(later - earlier) / 1e6 for earlier, later in pairwise(asked)]


@contextmanager
def _crowded(stage: Stage, runs: int) -> Iterator[Rig]:
    """Another project like the rig's, in which so many runs wait for people."""
    settings = stage.settings("crowded")
    told = f"{NAME}, pausing runs"
    with (
        EmbeddedServer.start(settings.state_dir, roles=project_roles(settings)) as server,
        connect(server.url) as connection,
    ):
        connection.config_set("appendfsync", "everysec")
        pausing = Pausing(connection)
        for number in range(runs):
            pausing.pause_one(pool=None)
            if number % 100 == 0:
                stage.progress(told, number, runs)
        # The messages of their starts, which no worker took.
        connection.delete(AGENTS_QUEUE)
    with open_rig(settings) as rig:
        yield rig


def _turn_about(stage: Stage, floor: Take, work: Take, pairs: int) -> tuple[list[Sample], list[Sample]]:
    taken: dict[Take, list[Sample]] = {floor: [], work: []}
    for pair in range(pairs + 1):
        for take in (floor, work) if pair % 2 else (work, floor):
            taken[take].append(take())
        stage.progress(NAME, pair, pairs)
    # The first of each opened connections.
    return taken[floor][1:], taken[work][1:]


def _sample(stage: Stage, rig: Rig, *, agent: str = CALLER, session_id: str | None = None) -> Sample:
    before, begun = Wire.of(rig.admin), time.perf_counter()
    stage.run(rig.client.submit(agent, _ONE_CALL, session_id=session_id))
    seconds = time.perf_counter() - begun
    return _sample_of(1000 * seconds, Wire.of(rig.admin).since(before))


def _sample_of(milliseconds: float, spent: Wire, *, steps: int = 1) -> Sample:
    return Sample(milliseconds, spent.bytes_in / 1000 / steps, spent.bytes_out / 1000 / steps)


def _figures(measures: tuple[Measure, Measure, Measure], floor: list[Sample], work: list[Sample]) -> list[Figure]:
    takes: list[Callable[[Sample], float]] = [lambda s: s.milliseconds, lambda s: s.written, lambda s: s.read]
    return [
        Figure.taken(NAME, measure, Series.of([take(s) for s in work]), Series.of([take(s) for s in floor]))
        for measure, take in zip(measures, takes, strict=True)
    ]


GROWTH = Benchmark(
    NAME,
    "Whether a run costs more in a long session, beside many paused runs, in a long conversation.",
    (*SESSION, *PAUSED, *STEP),
    measure,
)
