"""The tool of the benchmarks: it says when it began. Executed behind the wall of a pool; knows no agent."""

import time

from agent_core.tools import tool


@tool(external_execution=True)
def stamp(asked_at: str) -> str:
    """Tell the time.

    Args:
        asked_at: When the model was asked.
    """
    return str(time.time_ns())
