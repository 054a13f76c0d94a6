"""What a run with one pause costs in process, over the two requests that it makes of the model."""

from __future__ import annotations

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from agent_core.run import RunStatus
from workers.bench.benchmark import Benchmark
from workers.bench.errors import BenchError
from workers.bench.figures import Figure, Goal, Measure, Series
from workers.bench.model import prompt
from workers.bench.pairs import compare
from workers.bench.project.errands.tools import stamp
from workers.bench.stage import Stage

NAME = "in-process"
_PROMPT = prompt(calls=1)
_GOAL = Goal(of="ratio", bound=1.15)
CPU = Measure(name="run, pause, continue: CPU", unit="ms", floor_name="two requests by the SDK", goal=_GOAL)
WALL = Measure(name="run, pause, continue: wall", unit="ms", floor_name="two requests by the SDK", goal=_GOAL)


def measure(stage: Stage) -> list[Figure]:
    """One process, one thread: the agent without any queue, and the bare SDK, turn about."""
    agent = Agent(name="caller", model=OpenAIChat("bench", base_url=stage.model.url, api_key="none"), tools=[stamp])
    requests, pairs = stage.requests, stage.size(40, 8)
    comparison = compare(
        lambda: requests.run(_PROMPT),
        lambda: _run_pause_continue(agent),
        pairs=pairs,
        repeats=stage.size(5, 2),
        on_pair=lambda done: stage.progress(NAME, done, pairs),
    )
    return [
        Figure.taken(
            NAME,
            taken,
            Series.of([getattr(cost, field) for cost in comparison.work], scale=1000),
            Series.of([getattr(cost, field) for cost in comparison.floor], scale=1000),
        )
        for taken, field in ((CPU, "cpu_seconds"), (WALL, "wall_seconds"))
    ]


def _run_pause_continue(agent: Agent) -> None:
    paused = agent.run(_PROMPT)
    for call in paused.tools_awaiting_external_execution:
        call.result = "done"
    done = agent.continue_run(run_id=paused.run_id, updated_tools=paused.tools)
    if done.status is not RunStatus.COMPLETED or done.metrics.model_calls != 2:
        raise BenchError(f"A run in process ended in {done.status} after {done.metrics.model_calls} model calls.")


IN_PROCESS = Benchmark(
    NAME, "A run with one pause, in one process without a queue, over the same requests.", (CPU, WALL), measure
)
