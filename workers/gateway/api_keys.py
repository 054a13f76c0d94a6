"""API keys of the gateway: made, listed, revoked and recognised; one private file, which holds hashes only.

A key is shown once, when it is made, and never again from here.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent_core.errors import ErrandryError
from queues.errors import SettingsError
from queues.server_config import write_private

ROLES = ("submit", "read", "operate", "answer")
_TOKEN = re.compile(r"ek_[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_WRITABLE_BY_OTHERS = 0o022


class ApiKeyError(ErrandryError, ValueError):
    """A key cannot be made or revoked as it was asked for; the file is as it was."""


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept: its name, the hash of its secret, and its roles, `pool:<name>` among them."""

    name: str
    sha256: str
    roles: tuple[str, ...]
    created_at: str


class ApiKeys:
    """The file as the running gateway sees it: read anew whenever it was replaced."""

    def __init__(self, path: Path, *, required: bool) -> None:
        """SettingsError if there is a file and it cannot be used. `required`: without a file nobody is let in."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        self.are_required = required
        self.refresh()

    def refresh(self) -> None:
        """Take note of what was made or revoked. SettingsError if the file cannot be used; then no key is any good.

        Keys are required from the first file on; that it is gone later opens no door.
        """
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._keys, self._seen = (), None
            return
        except OSError as error:
            self._keys, self._seen = (), None
            raise SettingsError(f"{self._path} cannot be looked at: {error.strerror}; mend or move it.") from error
        self.are_required = True
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._keys, self._seen = (), None
            self._keys = read_keys(self._path)
            self._seen = seen

    def holder_of(self, token: str) -> ApiKey | None:
        """The key whose secret this is, None if there is none. Every key is compared, in constant time."""
        digest = _digest(token)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys in the file, none if there is no file. SettingsError if it cannot be read, or others may write it."""
    try:
        if path.stat().st_mode & _WRITABLE_BY_OTHERS:
            raise SettingsError(f"{path} may be written by others, who could add keys of their own; chmod 600 it.")
        stored = json.loads(path.read_text(encoding="utf-8"))
        keys = tuple(
            ApiKey(str(key["name"]), str(key["sha256"]), tuple(map(str, key["roles"])), str(key["created_at"]))
            for key in stored["keys"]
        )
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{path} cannot be read as a file of API keys ({error!r}); mend or remove it.") from None
    if not all(key.sha256.isascii() for key in keys):
        raise SettingsError(f"{path} cannot be read as a file of API keys (a hash is none); mend or remove it.")
    return keys


def create_key(path: Path, name: str, *, roles: Sequence[str], pools: Sequence[str] = ()) -> str:
    """Make a key with these roles and write its hash down; returns the key itself, which is kept nowhere.

    ApiKeyError for a name that is taken or none, and for a key that would open nothing.
    """
    if not _NAME.fullmatch(name):
        raise ApiKeyError(f"{name!r} is no name for a key; use 1 to 64 letters, digits, '_', '.', '@' and '-'")
    if unknown := set(roles) - set(ROLES):
        raise ApiKeyError(f"there is no role {', '.join(sorted(unknown))}; the roles are {', '.join(ROLES)}")
    granted = tuple(dict.fromkeys([*roles, *(f"pool:{pool}" for pool in pools)]))
    if not granted:
        raise ApiKeyError(f"a key without roles opens nothing; give --role ({', '.join(ROLES)}) or --pool")
    token = f"ek_{secrets.token_urlsafe(32)}"
    with _changing(path) as keys:
        if any(key.name == name for key in keys):
            raise ApiKeyError(f"there is a key {name!r} already; revoke it first, or choose another name")
        created_at = datetime.now(UTC).isoformat(timespec="seconds")
        _write(path, [*keys, ApiKey(name, _digest(token), granted, created_at)])
    return token


def revoke_key(path: Path, name: str) -> None:
    """Forget the key; a running gateway refuses it from the next request on. ApiKeyError if there is none."""
    with _changing(path) as keys:
        if all(key.name != name for key in keys):
            named = ", ".join(key.name for key in keys) or "none"
            raise ApiKeyError(f"there is no key {name!r}; there are: {named}")
        _write(path, (key for key in keys if key.name != name))


def looks_like_a_key(token: str) -> bool:
    """Whether this has the form of a key; anything else need not be looked up."""
    return _TOKEN.fullmatch(token) is not None


@contextmanager
def _changing(path: Path) -> Iterator[tuple[ApiKey, ...]]:
    """The keys as they are, while nobody else changes them."""
    try:
        with suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True)
            (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
        # A file of its own: the file of keys itself is replaced, and a lock on what was replaced keeps nobody out.
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ApiKeyError(f"{path} cannot be written: {error.strerror}; name another file in [gateway]") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield read_keys(path)
    except OSError as error:
        raise ApiKeyError(f"{path} cannot be written: {error.strerror}; name another file in [gateway]") from error
    finally:
        os.close(lock)


def _write(path: Path, keys: Iterable[ApiKey]) -> None:
    stored = [
        {"name": key.name, "sha256": key.sha256, "roles": list(key.roles), "created_at": key.created_at} for key in keys
    ]
    write_private(path, json.dumps({"keys": stored}, indent=1) + "\n")


def _digest(token: str) -> str:
    # Plain SHA-256 is enough: 256 random bits cannot be guessed, so there is nothing to slow down.
    return hashlib.sha256(token.encode("utf-8", errors="surrogateescape")).hexdigest()
