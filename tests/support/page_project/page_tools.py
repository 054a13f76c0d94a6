"""The tools of the page's project: each is executed behind the wall of a pool."""

import subprocess
import time
from pathlib import Path

from agent_core.tools import tool


@tool(external_execution=True)
def run_command(command: str) -> str:
    """Run a shell command."""
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


@tool(external_execution=True)
def print_and_wait(text: str, gate: str) -> str:
    """Print a text, wait until a file is there, and go."""
    print(text, flush=True)
    while not Path(gate).exists():
        time.sleep(0.02)
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
def deploy(target: str, replicas: int) -> str:
    """Deploy to a target; its pool asks a person first."""
    return f"deployed {replicas} to {target}"
