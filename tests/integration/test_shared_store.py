"""A run paused in one process continues in another that shares its store."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent_core.agent import Agent
from agent_core.errors import RunAlreadyContinuedError
from agent_core.models.scripted import ScriptedModel, call
from agent_core.run import RunOutput, RunStatus
from agent_core.tools import tool
from queues.run_store import RedisRunStore

pytestmark = pytest.mark.redis

CONTINUE_ELSEWHERE = """
import sys
from agent_core.agent import Agent
from queues.run_store import RedisRunStore
from tests.integration.test_shared_store import look_up, scripted

agent = Agent(model=scripted(), tools=[look_up], db=RedisRunStore(sys.argv[1]))
paused = agent.get_run_output(sys.argv[2])
for waiting in paused.tools_awaiting_external_execution:
    waiting.result = "green"
print(agent.continue_run(run_id=paused.run_id, updated_tools=paused.tools).content)
"""


@tool(external_execution=True)
def look_up(key: str) -> str:
    """Look something up."""
    raise NotImplementedError


def scripted(end: str = "It is green.") -> ScriptedModel:
    return ScriptedModel([call("look_up", key="colour"), end])


def paused_run(redis_url: str) -> tuple[Agent, RunOutput]:
    agent = Agent(model=scripted(), tools=[look_up], db=RedisRunStore(redis_url))
    output = agent.run("Which colour?")
    assert output.is_paused
    return agent, output


def test_a_run_paused_here_continues_in_another_process(redis_url: str) -> None:
    agent, output = paused_run(redis_url)
    command = [sys.executable, "-c", CONTINUE_ELSEWHERE, redis_url, output.run_id]
    root = Path(__file__).parents[2]
    said = subprocess.check_output(command, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert said.strip() == "It is green."
    stored = agent.get_run_output(output.run_id)
    assert stored is not None and stored.status is RunStatus.COMPLETED


def test_of_simultaneous_continues_exactly_one_wins(redis_url: str) -> None:
    _, output = paused_run(redis_url)

    def go_on(number: int) -> str:
        agent = Agent(model=scripted(f"by {number}"), tools=[look_up], db=RedisRunStore(redis_url))
        mine = agent.get_run_output(output.run_id)
        assert mine is not None
        for waiting in mine.tools:
            waiting.result = "green"
        try:
            return str(agent.continue_run(run_id=output.run_id, updated_tools=mine.tools).content)
        except RunAlreadyContinuedError:
            return "lost"

    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(go_on, range(8)))
    assert said.count("lost") == 7
