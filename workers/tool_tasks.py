"""The tool worker's Celery tasks, one for each tool of its pool; what they do stands in `execution`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from celery import Celery, signals

from queues.calls import CallAddress
from queues.topology import tool_task
from workers.execution import Executor
from workers.watching.deliveries import Delivery, shown


def register(app: Celery, executor: Executor, *, pool: str, tools: Sequence[str]) -> None:
    """Give the app one task per tool. A task's result is a word for people in Flower, nobody's state.

    A call of a tool that the pool does not have is settled as failed, so that the model learns of it.
    """
    for tool_name in tools:
        app.task(_task(executor, pool, tool_name), name=tool_task(pool, tool_name), Request=Delivery)

    def refuse(name: str, id: str, **_: object) -> None:
        run_id, step, tool_call_id = id.split(":", 2)
        tool_name = name.removeprefix(tool_task(pool, ""))
        executor.refuse(CallAddress(pool, run_id, int(step), tool_call_id, tool_name))

    # A weak reference would let go of the closure at once.
    signals.task_unknown.connect(refuse, weak=False)


def _task(executor: Executor, pool: str, tool_name: str) -> Callable[[str, int, str], str]:
    def execute(run_id: str, step: int, tool_call_id: str) -> str:
        return shown(executor.execute(CallAddress(pool, run_id, step, tool_call_id, tool_name)))

    return execute
