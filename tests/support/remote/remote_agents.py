"""Agents whose tools are executed by whoever fetches the calls over HTTP; the model endpoint comes from outside."""

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from agent_core.tools import tool


@tool(external_execution=True)
def count_letters(text: str) -> dict[str, int]:
    """Count the letters and words of a text."""
    raise NotImplementedError


@tool(external_execution=True)
def wait(seconds: float) -> str:
    """Wait for a while."""
    raise NotImplementedError


@tool(external_execution=True, pool="remote")
def missing() -> str:
    """Do what no executor can do."""
    raise NotImplementedError


@tool(name="wait", external_execution=True, on_lost="retry", max_attempts=3)
def wait_again(seconds: float) -> str:
    """Wait for a while; may be done twice."""
    raise NotImplementedError


@tool(name="wait", external_execution=True, timeout_seconds=1)
def wait_shortly(seconds: float) -> str:
    """Wait for a while, but not for long."""
    raise NotImplementedError


ops = Agent(name="ops", model=OpenAIChat(id="scripted"), tools=[count_letters, wait, missing])
patient = Agent(name="patient", model=OpenAIChat(id="scripted"), tools=[wait_again])
hasty = Agent(name="hasty", model=OpenAIChat(id="scripted"), tools=[wait_shortly])
