"""The agents whose runs Flower is to show; the model endpoint comes from the environment."""

from watched_tools import count_words, fail_with, greet, need_file, run_command, wait_for

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from agent_core.tools import tool


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
    model=OpenAIChat(id="scripted", max_retries=0),
    tools=[run_command, wait_for, count_words, need_file, fail_with, greet],
)
careful = Agent(name="careful", model=OpenAIChat(id="scripted"), tools=[delete_all, ask_colleague])
