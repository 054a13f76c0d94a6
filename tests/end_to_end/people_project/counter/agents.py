"""An agent with one tool in a pool and one of each kind that waits for a person."""

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat

from .tools import ask_warehouse, book_room, delete_files, echo

counter = Agent(name="counter", model=OpenAIChat(id="any"), tools=[echo, ask_warehouse, delete_files, book_room])
