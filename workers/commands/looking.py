"""Commands that look at runs: runs, show. Thin, over the client's methods; change nothing.

What they print is made in `workers.showing`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from agent_core.errors import RunNotFoundError
from workers.commands.opening import open_client
from workers.commands.pages import add
from workers.commands.runs import Json, RunId, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_core.run import RunOutput, RunStatus
    from queues.client import Client


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    add(
        app,
        list_runs,
        "errandry runs --status PAUSED --status ERROR",
        "errandry runs --agent ops --before run_06…",
        name="runs",
    )
    add(app, show, "errandry show run_06…", "errandry show run_06… --json")


def list_runs(
    status: Annotated[
        list[Status] | None,
        typer.Option(help="Only runs that stand here. May be given several times.", case_sensitive=False),
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only runs of this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show so many.")] = 50,
    before: Annotated[
        str | None, typer.Option(metavar="RUN", help="Only runs that were submitted before this one: the next page.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the newest runs: id, status, agent, age, what a paused one waits for, and its input.

    If there are older ones, stderr says how to see them. With --json: a list of objects, as `errandry show --json`
    prints one, without its timeline.
    """
    # Only now: both take longer to import than the help may take to show.
    from agent_core.run import RunStatus  # noqa: PLC0415
    from workers.showing.run_list import print_runs  # noqa: PLC0415

    statuses = {RunStatus(one.value) for one in status or ()} or None
    with open_client() as client:
        found, older = _pages(client, statuses, agent, limit, before)
        waits_for = {} if as_json else _waits_for(client, found)
    if as_json:
        typer.echo(json.dumps([output.to_dict() for output in found]))
    else:
        print_runs(found, waits_for=waits_for)
    if older is not None:
        filters = [f"--status {one.value}" for one in status or ()] + ([f"--agent {agent}"] if agent else [])
        typer.echo(
            f"older: {' '.join(['errandry runs', *filters, '--limit', str(limit), '--before', older])}", err=True
        )


def show(run_id: RunId, as_json: Json = False) -> None:
    """Show one run as far as it has come: where it stands, what happened when, and its answer or error.

    Below each step stand the model turns, the tool calls with each of their attempts, who answered a call, and the
    pauses, all with how long they took. Of a run whose events are gone only the records of its calls are left.

    With --json: one object, the run's output; its key "timeline" holds the steps.
    """
    from workers.showing.run import print_run  # noqa: PLC0415 - see above
    from workers.terminal import print_json  # noqa: PLC0415
    from workers.timeline.folding import timeline_of  # noqa: PLC0415

    with open_client() as client:
        output = client.output(run_id)
        # Answers are kept beside the run until it goes on with all of them.
        unanswered = [] if output.status.is_finished else client.pending(run_id)
        timeline = timeline_of(client.events(run_id, timeout=0), output)
    if as_json:
        whole = {**json.loads(output.to_json()), "timeline": timeline.model_dump(mode="json")}
        print_json(json.dumps(whole, ensure_ascii=False))
    else:
        print_run(output, timeline, unanswered=unanswered)


def _pages(
    client: Client, statuses: set[RunStatus] | None, agent: str | None, limit: int, before: str | None
) -> tuple[list[RunOutput], str | None]:
    """So many runs that match, however far back they are, and after which one older ones may follow."""
    found: list[RunOutput] = []
    while True:
        page = client.runs(status=statuses, agent=agent, limit=limit - len(found), before=before)
        found += page
        before = page.before
        if before is None or len(found) >= limit:
            return found, before


def _waits_for(client: Client, outputs: Iterable[RunOutput]) -> dict[str, str]:
    """What each of the runs that are paused waits for, by its id."""
    from workers.showing.calls import awaited  # noqa: PLC0415 - see above

    waits = {}
    for output in outputs:
        if output.is_paused:
            try:
                waits[output.run_id] = awaited(client.pending(output.run_id))
            except RunNotFoundError:
                continue  # its retention ended just now
    return waits
