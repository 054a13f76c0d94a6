"""The command that writes a new project: init.

Never overwrites a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workers.commands.pages import add
from workers.starter.writing import write_project


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    add(app, init, "errandry init helpdesk && cd helpdesk && errandry up")


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The new project's folder; it may exist if it is empty.")
    ],
) -> None:
    """Write a new project that runs: settings, an agent, two tools, and a script to run it without a key."""
    written = write_project(folder)
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"\nNext: cd {folder} && errandry up    (README.md says how to go on)")
