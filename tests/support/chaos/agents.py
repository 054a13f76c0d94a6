"""The agent of the chaos project; its model is the scripted one that the environment points to."""

from __future__ import annotations

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from tests.support.chaos.tools import ask_person, fetch_page, jot, trip, weigh, write_letter

chaotic = Agent(
    name="chaotic",
    model=OpenAIChat(id="scripted"),
    tools=[write_letter, weigh, fetch_page, trip, jot, ask_person],
)
