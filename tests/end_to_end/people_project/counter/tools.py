"""Tools that wait: for a pool, for a person's result, for a yes or no, for input."""

import time

from agent_core.tools import tool


@tool(external_execution=True)
def echo(text: str, seconds: float = 0) -> str:
    """Give the text back after some seconds."""
    time.sleep(seconds)
    return text


@tool(external_execution=True)
def ask_warehouse(item: str) -> str:
    """Ask the people in the warehouse."""
    raise NotImplementedError


@tool(requires_confirmation=True)
def delete_files(folder: str) -> str:
    """Delete the files of a folder."""
    return f"deleted {folder}"


@tool(requires_user_input=True)
def book_room(city: str, nights: int) -> str:
    """Book a room."""
    return f"{nights} nights in {city}"
