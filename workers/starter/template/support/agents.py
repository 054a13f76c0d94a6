"""The agents of this project. Only agent workers import this file, so only they need the model's key."""

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat

from .tools import count_words, execute_shell_command

ops = Agent(
    name="ops",
    # The key is taken from OPENAI_API_KEY, another endpoint from OPENAI_BASE_URL.
    model=OpenAIChat(id="gpt-5-mini"),
    tools=[execute_shell_command, count_words],
    instructions="Use the tools, and answer in one sentence.",
)
