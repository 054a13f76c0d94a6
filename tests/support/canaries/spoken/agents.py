"""Agents that do to a log what can be done to it: inline tools that fail, warn, leave threads and tasks to fail."""

import asyncio
import gc
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from agent_core.agent import Agent
from agent_core.models.base import ModelReply, ModelRequest
from agent_core.models.openai import OpenAIChat
from agent_core.models.scripted import ScriptedModel
from agent_core.tools import tool
from spoken.tools import fail_always, repeat


@tool
def fail_here(text: str) -> str:
    """Fail in the agent worker, warn, and let a thread fail, too."""
    logging.getLogger("some.library").warning("a library speaks")
    warnings.warn(f"canary-warned {text}", RuntimeWarning, stacklevel=1)

    def fail() -> None:
        raise ValueError(f"canary-threaded {text}")

    thread = threading.Thread(target=fail, name="left-behind")
    thread.start()
    thread.join()
    raise ValueError(f"canary-inline {text}")


@tool
async def leave_behind(text: str) -> str:
    """Let a task fail that nobody awaits."""

    async def fail() -> None:
        raise ValueError(f"canary-unawaited {text}")

    task = asyncio.get_running_loop().create_task(fail())
    await asyncio.sleep(0)
    del task
    await asyncio.sleep(0)
    gc.collect()
    return f"canary-left {text}"


def stumble(request: ModelRequest) -> ModelReply:
    """What a client of a model does that cannot read an answer."""
    raise ValueError(f"canary-answer that cannot be read: {request.messages[-1].content}")


class Broken(Agent):
    """An agent with a fault that is no tool's and no model's."""

    def advance(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        raise ValueError("canary-fault of the agent")


ops = Agent(name="ops", model=OpenAIChat(id="scripted"), tools=[repeat, fail_always, fail_here, leave_behind])
broken_model = Agent(name="broken_model", model=ScriptedModel([stumble] * 9), retries=1)
broken_agent = Broken(name="broken_agent", model=ScriptedModel(["never"]))
