"""Commands for the steps of a run that wait for a person: pending, approve, deny, answer, settle; over the client.

Never answers a call that a pool executes; a person only says whether it may.
"""

from __future__ import annotations

import getpass
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
    from queues.client import Client

CallId = Annotated[str, typer.Argument(metavar="CALL", help="The call's id, as `errandry pending` prints it.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who answers, as it is recorded; by default the user of this computer."),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    add(app, pending, "errandry pending", "errandry pending run_06… --json")
    add(
        app,
        approve,
        "errandry approve run_06… call_1",
        "errandry approve run_06… call_1 --argument 'command=ls -l' --argument lines=20",
    )
    add(app, deny, "errandry deny run_06… call_1 --note 'not on a Friday'")
    add(app, answer, "errandry answer run_06… call_1 city=Paris nights=2")
    add(app, settle, "errandry settle run_06… call_1 --result '42 files'")


def pending(
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run's id; left out: all runs that wait for people.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Without RUN, show so many runs.")] = 50,
    as_json: Json = False,
) -> None:
    """List the calls that a run waits for, and what each of them waits for: a pool, or a person and how to answer.

    Without RUN, list the runs that wait for people, the newest first, with the calls that they ask them about.
    """
    # Rich takes longer to import than the help may take to show.
    from workers.showing.people import print_pending, print_waiting  # noqa: PLC0415

    with open_client() as client:
        if run_id is None:
            waiting = client.waiting_runs(limit=limit)
        else:
            calls = client.pending(run_id)
    if run_id is None and as_json:
        typer.echo(json.dumps([run.to_dict() for run in waiting]))
    elif run_id is None:
        print_waiting(waiting)
    elif as_json:
        typer.echo(json.dumps([call.model_dump(mode="json") for call in calls]))
    else:
        print_pending(run_id, calls)


def approve(
    run_id: RunId,
    call_id: CallId,
    arguments: Annotated[
        list[str] | None,
        typer.Option(
            "--argument",
            metavar="NAME=JSON",
            help="Change an argument of a call that its pool executes; a text may stand without quotes. Repeatable.",
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="Kept with the call.")] = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Say yes to a call that asks for it: the agent worker, or its pool, executes it.

    Arguments that are not named stay as the model gave them; the model is told what a person has changed.
    """
    with open_client() as client:
        changed = None
        if arguments:
            call = _pending_call(client, run_id, call_id)
            asked_for = call.tool_args if call is not None else {}
            changed = asked_for | dict(_argument(entry, asked_for) for entry in arguments)
        who = _who(by)
        client.confirm(run_id, call_id, True, note, arguments=changed, answered_by=who)
    _say(run_id, call_id, "approved", who, as_json=as_json)


def deny(
    run_id: RunId,
    call_id: CallId,
    note: Annotated[str, typer.Option(help="Why; the model reads it.")] = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Say no to a call that asks for a yes: it is not executed, and the model is told so."""
    with open_client() as client:
        who = _who(by)
        client.confirm(run_id, call_id, False, note, answered_by=who)
    _say(run_id, call_id, "denied", who, as_json=as_json)


def answer(
    run_id: RunId,
    call_id: CallId,
    fields: Annotated[list[str], typer.Argument(metavar="FIELD=VALUE...", help="The arguments that are asked for.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Give the arguments that a call asks a person for; `errandry pending` lists them.

    A field of type string takes the value as it stands; any other takes JSON, such as 3, true or [1, 2].
    """
    with open_client() as client:
        call = _pending_call(client, run_id, call_id)
        # The client says best what is wrong with a call that is not there.
        values = dict(_field(entry, call) for entry in fields) if call is not None else {}
        who = _who(by)
        client.provide_input(run_id, call_id, values, answered_by=who)
    _say(run_id, call_id, "answered", who, as_json=as_json)


def settle(
    run_id: RunId,
    call_id: CallId,
    result: Annotated[str | None, typer.Option(help="What the tool returned; the model reads it.")] = None,
    error: Annotated[str | None, typer.Option(help="Why the tool failed; the model reads it.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Give the result, or the error, of an external call that no pool executes; the last answer lets the run go on."""
    if (result is None) == (error is None):
        raise typer.BadParameter("give either --result or --error")
    with open_client() as client:
        who = _who(by)
        if error is not None:
            client.settle(run_id, call_id, error=error, answered_by=who)
        else:
            client.settle(run_id, call_id, result=result, answered_by=who)
    _say(run_id, call_id, "settled", who, as_json=as_json)


def _say(run_id: str, call_id: str, word: str, who: str | None, *, as_json: bool) -> None:
    if as_json:
        told = {"run_id": run_id, "tool_call_id": call_id, "answer": word, "answered_by": who}
        typer.echo(json.dumps(told))
    else:
        typer.echo(f"{call_id} is {word}")


def _who(by: str | None) -> str | None:
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None  # the user has no name here, as in a container that runs under a bare number


def _pending_call(client: Client, run_id: str, call_id: str) -> ToolExecution | None:
    return next((call for call in client.pending(run_id) if call.tool_call_id == call_id), None)


def _argument(entry: str, asked_for: dict[str, JsonValue]) -> tuple[str, JsonValue]:
    name, equals, text = entry.partition("=")
    if not (name and equals):
        raise InvalidAnswerError(f"{entry!r} is no argument; write --argument name=JSON")
    is_text = isinstance(asked_for.get(name), str)
    try:
        value: JsonValue = json.loads(text)
    except json.JSONDecodeError as error:
        if is_text:
            return name, text
        raise InvalidAnswerError(
            f"argument {name}: {text!r} is not JSON ({error}); put a text in double quotes"
        ) from error
    # What the model gave as a text stays one, also where it reads like a number.
    return name, text if is_text and not isinstance(value, str) else value


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
