"""The folder of an embedded server: its lock, and the record by which other commands find the server.

It never starts a server. A live server is known by the lock alone, never by a record, which a dead one leaves behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from queues.errors import EmbeddedServerError
from queues.passwords import FILE_NAME, as_user, read_passwords
from queues.server_config import write_private

PAUSE_SECONDS = 0.02
_LOCK_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class ServerRecord:
    """server.json: who serves this folder, and for whom. The next server takes over port and password.

    `url` is that of the server's owner. `users` have passwords of their own; older releases knew none.
    """

    url: str
    pid: int
    owner_pid: int
    users: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        write_private(folder / "server.json", json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> ServerRecord | None:
        """The record in `folder`; None if there is none or if it cannot be understood."""
        try:
            fields = json.loads((folder / "server.json").read_text(encoding="utf-8"))
            return cls(
                url=str(fields["url"]),
                pid=int(fields["pid"]),
                owner_pid=int(fields["owner_pid"]),
                users=tuple(map(str, fields.get("users", ()))),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def url_of(self, user: str, folder: Path) -> str:
        """The address for one of the users; EmbeddedServerError if the server does not know it."""
        if not self.users:
            return self.url
        password = read_passwords(folder / FILE_NAME).get(user)
        if user not in self.users or password is None:
            raise EmbeddedServerError(
                f"The embedded server in {folder} does not know the Redis user {user}: it was started before that pool "
                "was added to errandry.toml. Stop the command that started it, and start it again."
            )
        return as_user(self.url, user, password)

    @property
    def is_answering(self) -> bool:
        return answering_pid(self.url) == self.pid

    @property
    def is_orphaned(self) -> bool:
        """True if the process that started the server is gone, so that nobody will ever stop it."""
        try:
            os.kill(self.owner_pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def private_folder(folder: Path) -> Path:
    """Creates `folder` for its owner alone, out of sight of git, because a password lies in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        _lock_file(folder).touch(mode=0o600)
    except OSError as error:
        raise EmbeddedServerError(
            f"The embedded server cannot use the folder {folder}: {error.strerror}; make it writable, "
            "work in another folder, or set redis_url to a running server."
        ) from error
    return folder.resolve()


def take_lock(folder: Path) -> int:
    """A descriptor that holds the folder's lock, to be inherited by the server. An orphan is shut down first.

    Raises `EmbeddedServerError` at once if a server with a living owner answers, else after a few seconds.
    """
    lock = os.open(_lock_file(folder), os.O_RDWR | os.O_CLOEXEC)
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while not _try(lock, fcntl.LOCK_EX):
        record = ServerRecord.read(folder)
        orphaned = record is not None and record.is_orphaned
        if record is not None and record.is_answering and orphaned:
            with _briefly(record.url) as connection, contextlib.suppress(redis.RedisError):
                connection.shutdown()
        elif time.monotonic() > deadline or (record is not None and record.is_answering and not orphaned):
            os.close(lock)
            raise EmbeddedServerError(
                f"An embedded server already runs in {folder}"
                + (f" (process {record.pid}, started by process {record.owner_pid})" if record else "")
                + "; use that one, or stop the command that started it."
            )
        time.sleep(PAUSE_SECONDS)
    return lock


def is_locked(folder: Path) -> bool:
    """True while a server lives in `folder` or is being started there."""
    try:
        probe = os.open(_lock_file(folder), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(probe, fcntl.LOCK_SH)
    finally:
        os.close(probe)


def answering_pid(url: str) -> int | None:
    """The process that answers at `url` and has its data loaded; None if nobody does, or not to this password."""
    with _briefly(url) as connection:
        try:
            connection.ping()
            return int(connection.info("server")["process_id"])
        except redis.RedisError:
            return None


@contextlib.contextmanager
def _briefly(url: str) -> Iterator[redis.Redis]:
    connection = redis.Redis.from_url(
        url, protocol=2, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
    )
    try:
        yield connection
    finally:
        connection.close()


def _lock_file(folder: Path) -> Path:
    return folder / "server.lock"


def _try(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
