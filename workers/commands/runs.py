"""Commands about runs: submit, list, show, follow, cancel, retry. Thin, over the client's methods; keeps no state.

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
    add(app, list_runs, "errandry runs --status PAUSED", name="runs")
    add(app, show, "errandry show run_06… --json")
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
) -> int:
    """Submit a run to an agent, and print the run's id.

    The run is stored first, so it survives whatever happens next: workers may be started later. With --follow the
    exit code is 0 if the run ended COMPLETED and 1 if it ended in ERROR or CANCELLED; with --json as well, each event
    is one line of JSON. Ctrl-C ends the following, not the run.
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
        )
        if not (as_json and do_follow):  # each event names it
            typer.echo(json.dumps({"run_id": run.run_id}) if as_json else run.run_id)
        return _follow(run, as_json=as_json) if do_follow else 0


def list_runs(
    status: Annotated[Status | None, typer.Option(help="Only runs that stand here.", case_sensitive=False)] = None,
    agent: Annotated[str | None, typer.Option(help="Only runs of this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Look at so many of the newest runs.")] = 50,
    as_json: Json = False,
) -> None:
    """List the newest runs: id, status, agent, age and input.

    With --json a list of objects, as `errandry show --json` prints one.
    """
    # Only now: both take longer to import than the help may take to show.
    from agent_core.run import RunStatus  # noqa: PLC0415
    from workers.terminal import print_runs  # noqa: PLC0415

    with open_client() as client:
        found = client.runs(status=RunStatus(status.value) if status else None, agent=agent, limit=limit)
    if as_json:
        typer.echo(json.dumps([output.to_dict() for output in found]))
    else:
        print_runs(found)


def show(run_id: RunId, as_json: Json = False) -> None:
    """Show one run as far as it has come: its status, its calls, and its answer or error."""
    from workers.terminal import print_run  # noqa: PLC0415 - see above

    with open_client() as client:
        output = client.output(run_id)
        # Answers are kept beside the run until it goes on with all of them.
        unanswered = [] if output.status.is_finished else client.pending(run_id)
    if as_json:
        typer.echo(output.to_json())
    else:
        print_run(output, unanswered=unanswered)


def follow(run_id: RunId, as_json: Json = False) -> int:
    """Show what happens in a run, from its first event until its end, then the answer.

    Works for finished runs too. The exit code is 0 if the run ended COMPLETED, 1 if it ended in ERROR or CANCELLED.
    With --json each event is one line of JSON. Ctrl-C ends the following, not the run.
    """
    with open_client() as client:
        return _follow(client.run(run_id), as_json=as_json)


def cancel(
    run_id: RunId,
    reason: Annotated[str, typer.Option(help="Kept with the run and shown wherever it is looked at.")] = "",
) -> None:
    """End a run, its queued calls and those that execute. A repeat changes nothing.

    A run that a worker holds ends within a few seconds, any other at once.
    """
    with open_client() as client:
        was_alive = client.cancel(run_id, reason)
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
    """
    with open_client() as client:
        run = client.retry(run_id)
        if do_follow:
            return _follow(run, as_json=as_json)
    typer.echo(json.dumps({"run_id": run_id}) if as_json else f"{run_id} goes on")
    return 0


def _follow(run: RunHandle, *, as_json: bool) -> int:
    from workers.terminal import follow_run  # noqa: PLC0415 - see above

    return follow_run(run, as_json=as_json)


def _pair(entry: str) -> tuple[str, str]:
    key, equals, value = entry.partition("=")
    if not (key and equals):
        raise MetadataError(f"{entry!r} is no metadata; write --metadata key=value")
    return key, value
