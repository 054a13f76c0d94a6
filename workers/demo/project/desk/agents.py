"""The demo's agent. Only agent workers import this file, so only they need the model's key."""

import os

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat

from .tools import add, current_time, execute_shell_command, list_files, read_file

demo = Agent(
    name="demo",
    # OPENAI_API_KEY and OPENAI_BASE_URL say where the model is; the demo points them to its own model server.
    model=OpenAIChat(id=os.environ.get("OPENAI_MODEL", "gpt-5-mini")),
    tools=[execute_shell_command, list_files, add, read_file, current_time],
    instructions="Use the tools for everything that they can do, and answer in one sentence.",
)
