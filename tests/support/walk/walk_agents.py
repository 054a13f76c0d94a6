"""The agents of the walk; the model endpoint comes from the environment."""

import ctypes

from walk_tools import count_words, fail_always, print_and_wait, run_command, whoami_inside

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from agent_core.tools import tool


@tool
def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


@tool
def hold_interpreter(seconds: float) -> str:
    """Let no other thread of this process run for a while, as one long call into C does."""
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return "let go"


@tool(requires_confirmation=True)
def delete_all(name: str) -> str:
    """Delete something, once a person has agreed."""
    return f"deleted {name}"


@tool(external_execution=True)
def ask_colleague(question: str) -> str:
    """Ask a colleague, who answers by hand."""
    raise NotImplementedError


ops = Agent(
    name="ops",
    model=OpenAIChat(id="scripted"),
    tools=[run_command, print_and_wait, count_words, fail_always, whoami_inside, add, hold_interpreter],
)
careful = Agent(name="careful", model=OpenAIChat(id="scripted"), tools=[delete_all, ask_colleague])
