"""Tools of a pool: one repeats what it is told, one fails with it; both know the pool's secret."""

import os

from agent_core.tools import tool


@tool(external_execution=True)
def repeat(text: str) -> str:
    """Give back the text, and what is not to be known."""
    return f"canary-result of {text}, {os.environ['TOKEN']}"


@tool(external_execution=True, max_attempts=2, backoff_seconds=0.01)
def fail_always(text: str) -> str:
    """Fail, and say with what."""
    print(f"canary-printed {text}")
    raise ValueError(f"canary-raised {text} {os.environ['TOKEN']}")
