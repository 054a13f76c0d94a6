"""The four ways to run an agent - sync or async, streamed or not - behind one signature.

Never adds behaviour: each mode calls the agent's own methods.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent_core.agent import Agent
from agent_core.run import RunOutput


@dataclass(frozen=True)
class RunMode:
    """One way to run and to continue; both return the output."""

    name: str
    run: Callable[..., RunOutput]
    continue_run: Callable[..., RunOutput]

    def __str__(self) -> str:
        return self.name


def _stream(method: str) -> Callable[..., RunOutput]:
    def run(agent: Agent, *args: Any, **kwargs: Any) -> RunOutput:
        *_, output = getattr(agent, method)(*args, stream=True, stream_events=True, yield_run_output=True, **kwargs)
        assert isinstance(output, RunOutput)
        return output

    return run


def _async(method: str) -> Callable[..., RunOutput]:
    def run(agent: Agent, *args: Any, **kwargs: Any) -> RunOutput:
        async def wait() -> RunOutput:
            output = await getattr(agent, method)(*args, **kwargs)
            assert isinstance(output, RunOutput)
            return output

        return asyncio.run(wait())

    return run


def _async_stream(method: str) -> Callable[..., RunOutput]:
    def run(agent: Agent, *args: Any, **kwargs: Any) -> RunOutput:
        async def wait() -> RunOutput:
            events = getattr(agent, method)(*args, stream=True, stream_events=True, yield_run_output=True, **kwargs)
            parts = [part async for part in events]
            assert isinstance(parts[-1], RunOutput)
            return parts[-1]

        return asyncio.run(wait())

    return run


RUN_MODES = [
    RunMode("sync", lambda agent, *a, **k: agent.run(*a, **k), lambda agent, *a, **k: agent.continue_run(*a, **k)),
    RunMode("stream", _stream("run"), _stream("continue_run")),
    RunMode("async", _async("arun"), _async("acontinue_run")),
    RunMode("async_stream", _async_stream("arun"), _async_stream("acontinue_run")),
]
