"""Tools whose calls Flower is to show: fast ones, slow ones, failing ones, and one whose pool opted in."""

import subprocess
import time
from pathlib import Path

from agent_core.tools import tool


@tool(external_execution=True)
def run_command(command: str) -> str:
    """Run a shell command."""
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


@tool(external_execution=True)
def wait_for(gate: str) -> str:
    """Wait until a file is there."""
    while not Path(gate).exists():
        time.sleep(0.02)
    return "passed"


@tool(external_execution=True)
def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@tool(external_execution=True, max_attempts=100, backoff_seconds=0.2)
def need_file(name: str) -> str:
    """Fail until a file is there."""
    return Path(name).read_text(encoding="utf-8")


@tool(external_execution=True)
def fail_with(reason: str) -> str:
    """Fail with a reason."""
    raise ValueError(reason)


@tool(external_execution=True)
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Good morning, {name}!"
