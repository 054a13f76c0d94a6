"""The agent of this project. Only agent workers import this file, so only they need the model's key."""

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat

from .tools import count_words, execute_shell_command, tell_everybody

office = Agent(
    name="office",
    # OPENAI_API_KEY and OPENAI_BASE_URL say where the model is.
    model=OpenAIChat(id="gpt-5-mini"),
    tools=[execute_shell_command, count_words, tell_everybody],
    instructions="Use the tools, and answer in one sentence.",
)
