"""Commands for the gateway's API keys: key create, key list, key revoke. A key is shown once, when it is made."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from workers.commands.opening import project_settings
from workers.commands.pages import add
from workers.commands.runs import Json


class KeyRole(StrEnum):
    """What a key lets its holder do; spelt again here, because the gateway's own module takes longer to import."""

    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"
    ANSWER = "answer"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name: who holds it.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the app, below one name."""
    key = typer.Typer(no_args_is_help=True)
    add(
        key,
        create,
        "errandry key create shop --role submit --role read",
        "errandry key create shell-worker --pool shell",
        name="create",
    )
    add(key, list_keys, "errandry key list", name="list")
    add(key, revoke, "errandry key revoke shop", name="revoke")
    app.add_typer(
        key,
        name="key",
        help="Create, list and revoke API keys of the HTTP gateway.",
        epilog="Example: errandry key create shop --role submit --role read",
    )


def create(
    name: Name,
    role: Annotated[
        list[KeyRole] | None,
        typer.Option(
            help="submit runs; read runs, events and metrics; operate: cancel, retry, requeue; answer: settle calls, "
            "confirm them, give their input. May be given several times."
        ),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Take and settle the calls of this pool. May be given several times."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print it. It is shown this once; the file keeps a hash of it.

    From the first key on the gateway asks every request for one, in the header Authorization: Bearer ek_…. A gateway
    that runs takes note at once. The keys lie in api_keys of [gateway], .errandry/api-keys.json by default.
    """
    from workers.gateway.api_keys import create_key  # noqa: PLC0415 - needs the errors of the queue

    file = project_settings().api_keys_file
    roles = [one.value for one in role or ()]
    token = create_key(file, name, roles=roles, pools=pool or ())
    if as_json:
        typer.echo(json.dumps({"name": name, "key": token}))
        return
    typer.echo(token)
    typer.echo(f"This is the key {name}. It is not shown again; {file} keeps its hash only.", err=True)


def list_keys(as_json: Json = False) -> None:
    """List the API keys: name, roles, when they were made. Never the keys themselves."""
    from workers.gateway.api_keys import read_keys  # noqa: PLC0415 - see above

    file = project_settings().api_keys_file
    keys = read_keys(file)
    if as_json:
        shown = [{"name": key.name, "roles": list(key.roles), "created_at": key.created_at} for key in keys]
        typer.echo(json.dumps(shown))
        return
    for key in keys:
        typer.echo(f"{key.name}  {', '.join(key.roles)}  {key.created_at}")
    if not keys and file.exists():
        typer.echo(f"no keys; the gateway lets nobody in while {file} is there")
    elif not keys:
        typer.echo("no keys; on this machine the gateway asks for none")


def revoke(name: Name) -> None:
    """Forget an API key. A gateway that runs refuses it from its next request on."""
    from workers.gateway.api_keys import revoke_key  # noqa: PLC0415 - see above

    revoke_key(project_settings().api_keys_file, name)
    typer.echo(f"{name} is revoked")
