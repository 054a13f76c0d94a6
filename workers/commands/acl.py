"""The command that prints the Redis users of a project and their rules: acl.

Never changes a server, and shows no password that it was not asked for.
"""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workers.commands.opening import project_settings
from workers.commands.pages import add
from workers.commands.runs import Json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queues.acl import Role


class Form(StrEnum):
    """How the rules are written."""

    FILE = "file"
    SETUSER = "setuser"


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    add(
        app,
        acl,
        "errandry acl --form setuser | redis-cli && redis-cli ACL SAVE",
        "errandry acl > users.acl",
        "errandry acl --show-passwords",
    )


def acl(
    form: Annotated[
        Form, typer.Option(help="Lines of the server's ACL file (`aclfile`), or ACL SETUSER commands for redis-cli.")
    ] = Form.FILE,
    passwords: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the passwords lie, or are kept once made; redis_users of errandry.toml by default, else "
            ".errandry/redis-users.json.",
        ),
    ] = None,
    show_passwords: Annotated[
        bool, typer.Option("--show-passwords", help="Also say each user's password, on stderr or in the JSON.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a Redis user for each kind of process, with the rules that keep it to its own keys.

    There is one for agent workers, one for the tool workers of each pool, and one each for producers, the gateway,
    Flower, `errandry doctor` and KEDA. A pool's user can take and settle the calls of its own pool, and nothing else; a
    pool that is served over HTTP has none, and the gateway takes its calls. The embedded server of `errandry up` has
    these users by itself; this command is for a server of your own (Redis 7 or newer, or Valkey). Run it again after
    adding a pool, and after an upgrade.

    The rules hold hashes, never passwords. A password is read from the variable ERRANDRY_REDIS_PASSWORD_… (_AGENTS,
    _POOL_SHELL, _PRODUCER, _GATEWAY, _FLOWER, _OPERATOR, _SCALER), else from the file; what is in neither is made and
    kept in the file, which only you can read.

    Then give each process its own user: redis_url = "redis://host:6379/0" with redis_users = "FILE" in errandry.toml
    where the file may lie, or ERRANDRY_REDIS_URL=redis://errandry-pool-shell:PASSWORD@host:6379/0 for a single
    process elsewhere. Last, make a user for yourself and switch the user default off.
    """
    from queues.passwords import FILE_NAME  # noqa: PLC0415 - Redis and pydantic, only now
    from queues.redis_url import project_roles  # noqa: PLC0415

    settings = project_settings()
    file = passwords or settings.redis_users_file or settings.state_dir / FILE_NAME
    roles = project_roles(settings)
    known = _passwords(roles, file)
    if as_json:
        typer.echo(json.dumps({"passwords_file": str(file), "users": _as_values(roles, known, show_passwords)}))
        return
    start = "user" if form is Form.FILE else "ACL SETUSER"
    for role in roles:
        typer.echo(f"{start} {role.setuser(known[role.user])}")
    for role in roles if show_passwords else ():
        typer.echo(f"{role.user}  {known[role.user]}  ({role.title})", err=True)


def _passwords(roles: Sequence[Role], file: Path) -> dict[str, str]:
    """Each user's password: from the environment, from the file, else made. Says where new ones are kept."""
    from queues.acl import PREFIX  # noqa: PLC0415 - see above
    from queues.passwords import complete_passwords, read_passwords  # noqa: PLC0415

    variables = {
        role.user: f"ERRANDRY_REDIS_PASSWORD_{role.user.removeprefix(PREFIX).replace('-', '_').upper()}"
        for role in roles
    }
    named = {user: os.environ[variable] for user, variable in variables.items() if os.environ.get(variable)}
    wanted = [role.user for role in roles if role.user not in named]
    made = [user for user in wanted if user not in read_passwords(file)]
    known = complete_passwords(file, wanted)
    if made:
        typer.echo(f"made passwords for {', '.join(made)}; they lie in {file}", err=True)
    return {**known, **named}


def _as_values(roles: Sequence[Role], passwords: Mapping[str, str], show: bool) -> list[dict[str, object]]:
    shown = [
        {"user": role.user, "title": role.title, "rules": role.setuser(passwords[role.user]).partition(" ")[2]}
        for role in roles
    ]
    return [{**user, "password": passwords[str(user["user"])]} if show else {**user} for user in shown]
