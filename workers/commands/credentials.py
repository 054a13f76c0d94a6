"""The command that makes what the processes of a deployment have to know, a folder for each: credentials.

Never shows a secret, and never replaces one that is there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workers.commands.opening import project_settings
from workers.commands.pages import add

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queues.acl import Role

_HEALTH_USER = "user health on nopass resetkeys resetchannels -@all +ping"
_FIRST_KEY = "made-with-the-deployment"


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    add(app, credentials, "errandry credentials secrets", "errandry credentials /credentials --owner 10001")


def credentials(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; one folder per process in it.")],
    owner: Annotated[
        int | None,
        typer.Option(min=0, metavar="UID", help="The user and group that the files are to belong to; needs root."),
    ] = None,
) -> None:
    """Make the credentials of a deployment: a folder for each process with what it has to know, and nothing else.

    In each of agents, pool-NAME, producer, gateway, flower and operator lies redis-users.json, for redis_users of that
    process; operator is for the commands of this program, from doctor to submit. store holds users.acl, the server's
    ACL file. gateway also has api-keys.json, for api_keys of [gateway], with a first key that nobody knows, so that the
    door is shut until `errandry key create` makes one. flower has basic-auth, the user and password for
    FLOWER_BASIC_AUTH.

    What is there is kept, and users.acl is written anew: run it again after adding a pool, and after an upgrade, and
    have the server read the file (ACL LOAD, or a restart). To change a password, remove its file first.
    """
    from queues.errors import SettingsError  # noqa: PLC0415 - Redis and pydantic, only now
    from queues.redis_url import project_roles  # noqa: PLC0415

    roles = project_roles(project_settings())
    try:
        _write(folder, roles)
        if owner is not None:
            for path in folder.rglob("*"):
                os.chown(path, owner, owner)
    except OSError as error:
        raise SettingsError(f"{error.filename or folder} cannot be written: {error.strerror}.") from error
    typer.echo(f"{folder} holds the credentials of {', '.join(_place(role) for role in roles)} and the store.")


def _write(folder: Path, roles: Sequence[Role]) -> None:
    import secrets  # noqa: PLC0415 - see above

    from queues.acl import OPERATOR, PRODUCER  # noqa: PLC0415
    from queues.passwords import FILE_NAME, complete_passwords  # noqa: PLC0415
    from queues.server_config import write_private  # noqa: PLC0415
    from workers.gateway.api_keys import create_key, read_keys  # noqa: PLC0415

    known: dict[str, str] = {}
    lines = ["user default off resetkeys resetchannels -@all", _HEALTH_USER]
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    for role in roles:
        place = _private(folder / _place(role))
        passwords = complete_passwords(place / FILE_NAME, [role.user])
        lines.append(f"user {role.setuser(passwords[role.user])}")
        known |= passwords
    # Who looks after a deployment submits, lists and settles as well.
    both = {user: known[user] for user in (OPERATOR, PRODUCER)}
    write_private(folder / "operator" / FILE_NAME, json.dumps(both, indent=1) + "\n")
    store = _private(folder / "store")
    write_private(store / "users.acl", "\n".join(lines) + "\n")
    keys = folder / "gateway" / "api-keys.json"
    if not read_keys(keys):
        create_key(keys, _FIRST_KEY, roles=["read"])
    door = folder / "flower" / "basic-auth"
    if not door.exists():
        write_private(door, f"errandry:{secrets.token_urlsafe(24)}")


def _place(role: Role) -> str:
    """The folder of a role: its user's name without what all of them begin with."""
    from queues.acl import PREFIX  # noqa: PLC0415 - see above

    return role.user.removeprefix(PREFIX)


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
