"""The tools of the walk: each is executed behind the wall of a pool."""

import os
import subprocess

from agent_core.tools import tool


@tool(external_execution=True)
def run_command(command: str) -> str:
    """Run a shell command.

    Args:
        command: What to run.
    """
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


@tool(external_execution=True)
def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@tool(external_execution=True)
def fail_always(reason: str) -> str:
    """Fail with a reason."""
    raise ValueError(reason)


@tool(external_execution=True)
def whoami_inside() -> dict[str, object]:
    """Tell what the tool sees of its process."""
    return {"secret": os.environ.get("OPENAI_API_KEY"), "key": os.environ.get("ERRANDRY_IDEMPOTENCY_KEY")}
