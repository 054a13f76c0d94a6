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


@tool(requires_confirmation=True)
def tell_everybody(text: str) -> str:
    """Tell everybody something, once a person has agreed.

    Args:
        text: What to tell.
    """
    return f"Everybody knows now: {text}"
