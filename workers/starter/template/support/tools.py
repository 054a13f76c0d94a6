"""The tools of this project. Tool workers import this file behind the sandbox's wall; keep agents and models out."""

import subprocess

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
def count_words(text: str) -> int:
    """Count the words of a text.

    Args:
        text: The text.
    """
    return len(text.split())
