"""Commands for what was buried: dead list, dead show, dead requeue. Thin, over the client.

Never decides what is buried.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from workers.commands.opening import open_client
from workers.commands.pages import add
from workers.commands.runs import Json

if TYPE_CHECKING:
    from queues.dead_letters import DeadLetter

LetterId = Annotated[str, typer.Argument(metavar="ID", help="The letter's id, as `errandry dead list` prints it.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the app, below one name."""
    dead = typer.Typer(no_args_is_help=True)
    add(dead, list_letters, "errandry dead list", name="list")
    add(dead, show, "errandry dead show run_06…:1:call_1")
    add(dead, requeue, "errandry dead requeue run_06…")
    app.add_typer(
        dead,
        name="dead",
        help="List, show and requeue dead letters: runs and calls that killed three workers, messages that were "
        "refused, and webhooks that could not be delivered.",
        epilog="Example: errandry dead list",
    )


def list_letters(
    limit: Annotated[int, typer.Option(min=1, help="Show so many of the newest.")] = 50, as_json: Json = False
) -> None:
    """List what was buried, the newest first: id, when, and why.

    With --json: a list of objects, as `errandry dead show --json` prints one.
    """
    # Rich takes longer to import than the help may take to show.
    from workers.terminal import say  # noqa: PLC0415

    with open_client() as client:
        letters = client.dead_letters(limit=limit)
    if as_json:
        typer.echo(json.dumps([letter.model_dump(mode="json") for letter in letters]))
        return
    for letter in letters:
        say(f"{letter.id}  {letter.kind}  {_when(letter)}  {' '.join(letter.reason.split())}")
    if not letters:
        say("no dead letters")


def show(letter_id: LetterId, as_json: Json = False) -> None:
    """Show one dead letter: what it is, which run it belongs to, why it was buried, and what to do about it.

    With --json: one object.
    """
    from workers.terminal import say  # noqa: PLC0415 - see above

    with open_client() as client:
        letter = client.dead_letter(letter_id)
    if as_json:
        typer.echo(json.dumps(letter.model_dump(mode="json")))
        return
    say(f"letter   {letter.id}")
    say(f"kind     {letter.kind}")
    say(f"queue    {letter.queue}" if letter.kind == "message" else f"run      {letter.run_id}")
    if letter.kind == "call":
        say(f"call     step {letter.step}: {letter.tool_call_id} of {letter.tool_name}, pool {letter.pool}")
    say(f"buried   {_when(letter)}")
    say(f"reason   {letter.reason}")
    if letter.kind == "message":
        say("Nothing of the message was kept. Find out who may push onto this queue.", style="yellow")
        return
    say(f"errandry show {letter.run_id}      (the run as far as it came)", style="yellow")
    say(f"errandry dead requeue {letter.id}      (once the cause is mended)", style="yellow")


def requeue(letter_id: LetterId, as_json: Json = False) -> int:
    """Dig up what was buried: a run goes on, a call goes back to its pool's queue, a webhook is tried anew.

    The letter is gone afterwards. The exit code is 1 if there was nothing left to requeue, because the run of a call
    has ended meanwhile, or that of a webhook is kept no longer.

    With --json: {"id", "requeued"}.
    """
    with open_client() as client:
        letter = client.dead_letter(letter_id)
        requeued = client.requeue(letter_id)
    if as_json:
        typer.echo(json.dumps({"id": letter_id, "requeued": requeued}))
        return 0 if requeued else 1
    if not requeued:
        fate = "is kept no longer" if letter.kind == "webhook" else "has ended meanwhile"
        typer.echo(f"{letter_id} is not requeued: run {letter.run_id} {fate}; the letter is gone")
        return 1
    typer.echo(f"{letter_id} goes on" if letter.kind == "run" else f"{letter_id} is requeued")
    return 0


def _when(letter: DeadLetter) -> str:
    return f"{letter.buried_at:%Y-%m-%d %H:%M:%S} UTC" if letter.buried_at is not None else "at an unknown time"
