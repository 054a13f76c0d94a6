"""Commands that act on runs, or follow them: submit, follow, cancel, retry. Thin, over the client's methods.

Never starts a process.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from agent_core.errors import ErrandryError
from workers.commands.opening import open_client
from workers.commands.pages import add

if TYPE_CHECKING:
    from queues.client import RunHandle

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `errandry submit` printed it.")]


class Priority(StrEnum):
    """The lane of a run."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Status(StrEnum):
    """Where a run stands; spelt again here, because the values of `agent_core.run` take long to import."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    ERROR = "ERROR"


class MetadataError(ErrandryError, ValueError):
    """A `--metadata` option is not of the form key=value."""


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    add(
        app,
        submit,
        "errandry submit ops 'What files are there?' --follow",
        "errandry submit ops 'What files are there?' --deadline-seconds 600",
    )
    add(app, follow, "errandry follow run_06…")
    add(app, cancel, "errandry cancel run_06… --reason 'asked by mistake'")
    add(app, retry, "errandry retry run_06… --follow")


def submit(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")],
    input: Annotated[str, typer.Argument(metavar="INPUT", help="What the agent is asked.")],
    do_follow: Annotated[
        bool, typer.Option("--follow", help="Show what happens until the run ends, then the answer.")
    ] = False,
    as_json: Json = False,
    priority: Annotated[Priority, typer.Option(help="The lane in which the run waits for an agent worker.")] = (
        Priority.NORMAL
    ),
    session_id: Annotated[str | None, typer.Option(help="Continue a session; its history is the agent's.")] = None,
    user_id: Annotated[str | None, typer.Option(help="On whose behalf the run is made.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key gives the same run, however often it is submitted.")
    ] = None,
    deadline_seconds: Annotated[
        float | None, typer.Option(help="End the run in ERROR, reason expired, if it is not done so long from now.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Kept with the run; may be given several times.")
    ] = None,
    webhook_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the gateway posts the run's end, and its pauses for people."),
    ] = None,
) -> int:
    """Submit a run to an agent, and print the run's id.

    The run is stored first, so it survives whatever happens next: workers may be started later. With --follow the
    exit code is 0 if the run ended COMPLETED and 1 if it ended in ERROR or CANCELLED. Ctrl-C ends the following, not
    the run.

    With --json: {"run_id"}; with --follow as well, each event is one line of JSON.
    """
    if deadline_seconds is not None and not deadline_seconds > 0:
        raise typer.BadParameter("give a time from now, above 0", param_hint="'--deadline-seconds'")
    with open_client() as client:
        run = client.submit(
            agent,
            input,
            priority=priority.value,
            session_id=session_id,
            user_id=user_id,
            idempotency_key=idempotency_key,
            deadline_seconds=deadline_seconds,
            metadata=dict(_pair(entry) for entry in metadata or ()),
            webhook_url=webhook_url,
        )
        if not (as_json and do_follow):  # each event names it
            typer.echo(json.dumps({"run_id": run.run_id}) if as_json else run.run_id)
        return _follow(run, as_json=as_json) if do_follow else 0


def follow(run_id: RunId, as_json: Json = False) -> int:
    """Show what happens in a run, from its first event until its end, then the answer.

    On a terminal the model's text appears as it is told; in a pipe line by line. Works for finished runs too. The exit
    code is 0 if the run ended COMPLETED, 1 if it ended in ERROR or CANCELLED. Ctrl-C ends the following, not the run.

    With --json: each event as one line of JSON, and no answer after them; a RunCompleted holds it as content.
    """
    with open_client() as client:
        return _follow(client.run(run_id), as_json=as_json)


def cancel(
    run_id: RunId,
    reason: Annotated[str, typer.Option(help="Kept with the run and shown wherever it is looked at.")] = "",
    as_json: Json = False,
) -> None:
    """End a run, its queued calls and those that execute. A repeat changes nothing.

    A run that a worker holds ends within a few seconds, any other at once.

    With --json: {"run_id", "ending"}; ending is false for a run that had ended already.
    """
    with open_client() as client:
        was_alive = client.cancel(run_id, reason)
    if as_json:
        typer.echo(json.dumps({"run_id": run_id, "ending": was_alive}))
        return
    typer.echo(f"{run_id} is being cancelled" if was_alive else f"{run_id} has ended already")


def retry(
    run_id: RunId,
    do_follow: Annotated[
        bool, typer.Option("--follow", help="Show what happened and happens until the run ends, then the answer.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Let a run that ended in ERROR go on from its last snapshot, never from its input.

    Answers that are in are kept, a deadline that has passed is forgotten, and a dead letter of the run is gone. A run
    in any other state is refused. With --follow the exit code is 0 if the run then ends COMPLETED, else 1.

    With --json: {"run_id"}; with --follow as well, each event is one line of JSON.
    """
    with open_client() as client:
        run = client.retry(run_id)
        if do_follow:
            return _follow(run, as_json=as_json)
    typer.echo(json.dumps({"run_id": run_id}) if as_json else f"{run_id} goes on")
    return 0


def _follow(run: RunHandle, *, as_json: bool) -> int:
    # Rich and the agents' values take longer to import than the help may take to show.
    from workers.showing.following import follow_run  # noqa: PLC0415

    return follow_run(run, as_json=as_json)


def _pair(entry: str) -> tuple[str, str]:
    key, equals, value = entry.partition("=")
    if not (key and equals):
        raise MetadataError(f"{entry!r} is no metadata; write --metadata key=value")
    return key, value
