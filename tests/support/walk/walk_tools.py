"""The tools of the walk: each is executed behind the wall of a pool."""

import os
import subprocess
import time
from pathlib import Path

from agent_core.tools import tool


@tool(external_execution=True)
def run_command(command: str) -> str:
    """Run a shell command.

    Args:
        command: What to run.
    """
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


@tool(external_execution=True)
def print_and_wait(gate: str) -> str:
    """Print a line, wait until a file is there, print another one."""
    print("before the gate")
    while not Path(gate).exists():
        time.sleep(0.02)
    print("behind the gate")
    return "passed"


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
    print("looking around")
    return {"secret": os.environ.get("OPENAI_API_KEY"), "key": os.environ.get("ERRANDRY_IDEMPOTENCY_KEY")}
