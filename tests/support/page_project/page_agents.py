"""The agents of the page's project; the model endpoint comes from the environment."""

from page_tools import count_words, deploy, fail_always, print_and_wait, run_command

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from agent_core.tools import tool


@tool
def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


@tool(requires_confirmation=True)
def delete_all(name: str) -> str:
    """Delete something, once a person has agreed."""
    return f"deleted {name}"


@tool(external_execution=True)
def ask_colleague(question: str) -> str:
    """Ask a colleague, who answers by hand."""
    raise NotImplementedError


@tool(requires_user_input=True)
def book_room(name: str, seats: int, budget: float, catering: bool, extras: list[str], remark: str = "") -> str:
    """Book a room; a person says which.

    Args:
        name: What the room is called.
        seats: How many are to sit there.
        budget: What it may cost at most.
        catering: Whether there is to be coffee.
        extras: What else is wanted.
        remark: Anything else.
    """
    return f"booked {name} for {seats} at {budget}, catering {catering}, extras {extras}, remark {remark!r}"


ops = Agent(
    name="ops",
    model=OpenAIChat(id="scripted"),
    instructions="Do what you are asked.",
    tools=[run_command, print_and_wait, count_words, fail_always, deploy, add],
)
careful = Agent(name="careful", model=OpenAIChat(id="scripted"), tools=[delete_all, ask_colleague, book_room])
