"""The command that examines a project and says what is unsafe or stands still: doctor.

Never mends anything.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from workers.commands.opening import importable_project
from workers.commands.pages import add
from workers.commands.runs import Json


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    add(app, doctor, "errandry doctor", "errandry doctor --release", "errandry doctor --json --no-sandbox")


def doctor(
    release: Annotated[
        bool,
        typer.Option(
            "--release",
            help="Also say which unfinished runs the code at hand could not carry on, and whose tools have changed.",
        ),
    ] = False,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Do not try the pools' sandboxes: no tool worker is to run here.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Look at so many of the newest runs.")] = 500,
    as_json: Json = False,
) -> int:
    """Examine the project of this folder, and say what is unsafe or stands still, with the remedy.

    Looks at the code, Redis and its settings, the workers of the agents and pools, runs that nobody carries on, dead
    letters, and whether the pools' sandboxes can be had on this machine. Changes nothing. What the user of redis_url
    may not see is a warning.

    The exit code is 1 if there is a problem, else 0; warnings alone are no failure. With --json: one object with
    the worst level and the list of findings.
    """
    settings = importable_project()
    # Celery, Redis and the project's own modules, only now.
    from workers.checkup import Scope, examine  # noqa: PLC0415
    from workers.commands.findings import print_finding, print_verdict, worst_of  # noqa: PLC0415

    found = []
    for finding in examine(settings, Scope(limit=limit, sandboxes=not no_sandbox, release=release)):
        found.append(finding)
        if not as_json:
            print_finding(finding)
    worst = worst_of(found)
    if as_json:
        typer.echo(json.dumps({"level": worst.value, "findings": [finding.to_dict() for finding in found]}))
    else:
        print_verdict(found)
    return 1 if worst.value == "problem" else 0
