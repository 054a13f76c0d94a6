"""The demo's tools. Tool workers import this file behind the sandbox's wall; it knows no agent and no model."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from agent_core.tools import tool


@tool(external_execution=True)
def execute_shell_command(command: str) -> str:
    """Execute a shell command.

    Args:
        command: The shell command to execute.
    """
    done = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)  # noqa: S602
    return done.stdout


@tool(external_execution=True)
def list_files(folder: str) -> str:
    """List the files in a folder.

    Args:
        folder: The path of the folder.
    """
    return "\n".join(sorted(path.name for path in Path(folder).iterdir()))


@tool(external_execution=True)
def add(a: float, b: float) -> float:
    """Add two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


@tool(external_execution=True)
def read_file(path: str) -> str:
    """Read a text file.

    Args:
        path: The path of the file.
    """
    return Path(path).read_text(encoding="utf-8")


@tool
def current_time(timezone: str) -> str:
    """Tell the current time of a time zone.

    Args:
        timezone: The name of the time zone, such as Europe/Paris or UTC.
    """
    # Not external: the agent worker calls it itself, beside the model's key.
    zone = UTC if timezone.upper() == "UTC" else ZoneInfo(timezone)
    return datetime.now(zone).strftime("%H:%M")
