"""Commands for the steps of a run that wait for a person: pending, settle, approve, answer. Thin, over the client.

Never answers a call that a pool executes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from agent_core.errors import InvalidAnswerError
from workers.commands.opening import open_client
from workers.commands.pages import add
from workers.commands.runs import Json, RunId

if TYPE_CHECKING:
    from pydantic import JsonValue

    from agent_core.tools.execution import ToolExecution

CallId = Annotated[str, typer.Argument(metavar="CALL", help="The call's id, as `errandry pending RUN` prints it.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    add(app, pending, "errandry pending run_06…")
    add(app, settle, "errandry settle run_06… call_1 --result '42 files'")
    add(app, approve, "errandry approve run_06… call_1 --deny --note 'not on a Friday'")
    add(app, answer, "errandry answer run_06… call_1 city=Paris nights=2")


def pending(run_id: RunId, as_json: Json = False) -> None:
    """List the calls that a run waits for, and what each of them waits for: a pool, or a person and how to answer."""
    # Rich takes longer to import than the help may take to show.
    from workers.terminal import print_pending  # noqa: PLC0415

    with open_client() as client:
        calls = client.pending(run_id)
    if as_json:
        typer.echo(json.dumps([call.model_dump(mode="json") for call in calls]))
    else:
        print_pending(run_id, calls)


def settle(
    run_id: RunId,
    call_id: CallId,
    result: Annotated[str | None, typer.Option(help="What the tool returned; the model reads it.")] = None,
    error: Annotated[str | None, typer.Option(help="Why the tool failed; the model reads it.")] = None,
) -> None:
    """Give the result, or the error, of an external call that no pool executes; the last answer lets the run go on."""
    if (result is None) == (error is None):
        raise typer.BadParameter("give either --result or --error")
    with open_client() as client:
        if error is not None:
            client.settle(run_id, call_id, error=error)
        else:
            client.settle(run_id, call_id, result=result)
    typer.echo(f"{call_id} is settled")


def approve(
    run_id: RunId,
    call_id: CallId,
    deny: Annotated[bool, typer.Option("--deny", help="Say no: the call is not executed.")] = False,
    note: Annotated[str, typer.Option(help="Why; the model reads the note of a refusal.")] = "",
) -> None:
    """Say yes (or, with --deny, no) to a call that asks for confirmation."""
    with open_client() as client:
        client.confirm(run_id, call_id, not deny, note)
    typer.echo(f"{call_id} is {'denied' if deny else 'approved'}")


def answer(
    run_id: RunId,
    call_id: CallId,
    fields: Annotated[list[str], typer.Argument(metavar="FIELD=VALUE...", help="The arguments that are asked for.")],
) -> None:
    """Give the arguments that a call asks a person for; `errandry pending RUN` lists them.

    A field of type string takes the value as it stands; any other takes JSON, such as 3, true or [1, 2].
    """
    with open_client() as client:
        call = next((call for call in client.pending(run_id) if call.tool_call_id == call_id), None)
        # The client says best what is wrong with a call that is not there.
        values = dict(_field(entry, call) for entry in fields) if call is not None else {}
        client.provide_input(run_id, call_id, values)
    typer.echo(f"{call_id} is answered")


def _field(entry: str, call: ToolExecution) -> tuple[str, JsonValue]:
    name, equals, text = entry.partition("=")
    if not (name and equals):
        raise InvalidAnswerError(f"{entry!r} is no answer; write field=value")
    types = {field.name: field.field_type for field in call.user_input_schema or ()}
    if types.get(name, "string") == "string":
        return name, text
    try:
        return name, json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidAnswerError(
            f"{call.tool_name} asks for {name} as {types[name]}, and {text!r} is none; write it as JSON"
        ) from error
