"""The passwords of a project's Redis users, in one file for its owner alone; made once, and never shown from here."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from queues.errors import SettingsError
from queues.server_config import write_private
from queues.store_address import StoreAddress

FILE_NAME = "redis-users.json"


def read_passwords(path: Path) -> dict[str, str]:
    """User -> password; empty if there is no such file. SettingsError if it cannot be understood."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path} cannot be read as a file of Redis passwords: {error}; mend or remove it."
        ) from None
    if not isinstance(content, dict) or not all(isinstance(value, str) and value for value in content.values()):
        raise SettingsError(f'{path} must hold one JSON object, {{"user": "password", …}}; mend or remove it.')
    return content


def complete_passwords(path: Path, users: Iterable[str]) -> dict[str, str]:
    """Those of the given users. The ones that the file lacks are made and written to it; what it holds is kept."""
    known = read_passwords(path)
    made = {user: secrets.token_urlsafe(32) for user in users if user not in known}
    if made:
        try:
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700, parents=True)
                (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
            write_private(path, json.dumps({**known, **made}, indent=1) + "\n")
        except OSError as error:
            raise SettingsError(f"{path} cannot be written: {error.strerror}; name another file.") from error
    return {user: (known | made)[user] for user in users}


def names_user(url: str) -> bool:
    """Whether a URL says by itself as whom to connect."""
    address = StoreAddress.of(url)
    return bool(address.username or address.password)


def as_user(url: str, user: str, password: str) -> str:
    """The same address with credentials."""
    scheme, _, rest = url.partition("://")
    end = min((place for place in map(rest.find, "/?#") if place >= 0), default=len(rest))
    places = rest[:end].rpartition("@")[2]
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{places}{rest[end:]}"
