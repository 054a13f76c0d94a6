"""What agent workers tell of tools: who executes them and how, how long that is known, and that nothing piles up."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from queues import keys
from queues.offers import Offers, ToolOffer
from queues.settings import load_settings
from tests.support.waiting import wait_until
from workers.agents import load_project

pytestmark = pytest.mark.redis

SLOW = ToolOffer("shell", timeout_seconds=7, max_attempts=3, on_lost="retry", queue_seconds=60, approval=True)
PLAIN = ToolOffer("python")

TOOLS = '''
from agent_core.tools import tool

@tool(pool="shell", timeout_seconds=7, max_attempts=3, on_lost="retry")
def run_command(command: str) -> str:
    """Run a command."""
    return command

@tool(external_execution=True)
def count(text: str) -> int:
    """Count."""
    return len(text)
'''
AGENTS = """
from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel
from offered_tools import run_command

ops = Agent(name="ops", model=ScriptedModel([]), tools=[run_command])
"""
SETTINGS = """
agents = ["offered_agents:ops"]
[pools.shell]
tools = ["offered_tools:run_command"]
queue_seconds = 60
approval = true
[pools.python]
tools = ["offered_tools:count", "only_in_its_image:weigh"]
"""


def test_what_was_told_is_known(redis_connection: redis.Redis) -> None:
    offers = Offers(redis_connection)
    assert offers.tools() == {}
    offers.announce_tools({"slow": SLOW, "plain": PLAIN})
    assert offers.tools() == {"plain": PLAIN, "slow": SLOW}
    offers.announce_tools({"slow": PLAIN})
    assert offers.tools() == {"plain": PLAIN, "slow": PLAIN}
    assert offers.find("slow", pool="python") == PLAIN


def test_a_tool_that_is_not_told_of_has_the_rules_of_its_pool(redis_connection: redis.Redis) -> None:
    offers = Offers(redis_connection)
    assert offers.find("weigh", pool="shell") == ToolOffer("shell")
    offers.announce_tools({"slow": SLOW})
    assert offers.find("weigh", pool="shell") == ToolOffer("shell", queue_seconds=60, approval=True)


def test_what_nobody_tells_any_more_is_forgotten(redis_connection: redis.Redis) -> None:
    offers = Offers(redis_connection)
    offers.announce_tools({"slow": SLOW}, valid_seconds=0.05)
    offers.announce_tools({"plain": PLAIN})
    wait_until(lambda: offers.tools() == {"plain": PLAIN}, "it is out of date")
    offers.announce_tools({"plain": PLAIN})
    assert redis_connection.hkeys(keys.TOOLS) == ["plain"]


def test_what_a_newer_release_tells_is_passed_over(redis_connection: redis.Redis) -> None:
    offers = Offers(redis_connection)
    offers.announce_tools({"plain": PLAIN})
    redis_connection.hset(keys.TOOLS, "new", '99999999999999 {"pool": "shell", "on_lost": "shrug"}')
    assert offers.tools() == {"plain": PLAIN}


def test_a_project_offers_what_its_pools_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "offered_tools.py").write_text(TOOLS)
    (tmp_path / "offered_agents.py").write_text(AGENTS)
    (tmp_path / "errandry.toml").write_text(SETTINGS)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_project(load_settings(tmp_path)).offers == {
        "run_command": SLOW,
        "count": PLAIN,
        "weigh": PLAIN,  # a module that exists only where its pool runs: its own rules are not known here
    }
