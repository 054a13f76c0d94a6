"""An embedded Valkey for one folder: durable, on the loopback only, with users, gone when its owner is gone.

It never shares its folder: the server process itself holds the lock, however its owner ended.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from queues.acl import ADMIN, Role, admin
from queues.embedded_folder import PAUSE_SECONDS, ServerRecord, answering_pid, is_locked, private_folder, take_lock
from queues.errors import EmbeddedServerError
from queues.passwords import FILE_NAME, as_user, complete_passwords
from queues.server_config import find_server_binary, write_server_files
from queues.tether import spawn_tethered

_PORT_ATTEMPTS = 5
_STOP_SECONDS = 10.0
_LINES_SHOWN = 8


class EmbeddedServer:
    """A running server that this process owns; made by `start`."""

    def __init__(
        self, folder: Path, *, binary: Path, lock: int, port: int, password: str, users: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._binary = binary
        self._lock: int | None = lock
        self._port = port
        self._password = password
        self._users = users
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, folder: Path, *, roles: Sequence[Role] = (), start_timeout_seconds: float = 30.0) -> Self:
        """Returns once the server answers. Data and passwords, and the port where still free, are those of last time.

        Each role is a user of the server. Nobody else is, but for its owner, who may do everything.
        Raises `EmbeddedServerError` if a server of another owner lives in `folder`, or if none can be started.
        """
        binary = find_server_binary()
        folder = private_folder(folder)
        lock = take_lock(folder)
        last = ServerRecord.read(folder)
        address = urlsplit(last.url if last else "")
        password = address.password or secrets.token_urlsafe(32)
        try:
            passwords = complete_passwords(folder / FILE_NAME, [role.user for role in roles])
        except BaseException:
            os.close(lock)
            raise
        users = {role.user: role.setuser(passwords[role.user]) for role in roles}
        port = address.port or _free_port()
        server = cls(folder, binary=binary, lock=lock, port=port, password=password, users=users)
        try:
            server._launch_on_some_port(start_timeout_seconds)
        except BaseException:
            server.stop()
            raise
        return server

    @staticmethod
    def attach(folder: Path, *, user: str | None = None, timeout_seconds: float = 5.0) -> str | None:
        """The URL of the server that lives in `folder`, or None if there is none that its owner still looks after.

        For the given user, else for the owner. Waits for one that is just starting; raises `EmbeddedServerError` if it
        does not answer in time, or has no such user.
        """
        deadline = time.monotonic() + timeout_seconds
        while is_locked(folder):
            record = ServerRecord.read(folder)
            if record is not None and record.is_orphaned:
                return None
            if record is not None and record.is_answering:
                return record.url if user is None else record.url_of(user, folder)
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"The embedded server in {folder} does not answer; "
                    "wait until it has loaded its data, or stop the command that started it and try again."
                )
            time.sleep(PAUSE_SECONDS)
        return None

    @property
    def url(self) -> str:
        """The address for the owner, who may do everything; it has a password, so hand it on to nobody else."""
        return as_user(f"redis://127.0.0.1:{self._port}/0", ADMIN, self._password)

    def url_of(self, user: str) -> str:
        """The address for one of the users that the server was started with."""
        return self._record().url_of(user, self._folder)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def revive(self, *, start_timeout_seconds: float = 30.0) -> bool:
        """Starts the server again if it has died, with its data and under the same URL. True if it had died."""
        if self.is_alive:
            return False
        deadline = time.monotonic() + start_timeout_seconds
        while not self._launch(start_timeout_seconds):
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"Port {self._port}, under which every process knows the embedded server, was taken by another "
                    "program; stop everything and start again."
                )
            time.sleep(PAUSE_SECONDS)
        return True

    def stop(self) -> None:
        """Ends the server in an orderly way, by force if that takes too long, and frees the folder. May be repeated."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch_on_some_port(self, timeout_seconds: float) -> None:
        for _ in range(_PORT_ATTEMPTS):
            if self._launch(timeout_seconds):
                return
            self._port = _free_port()
        raise EmbeddedServerError(f"The embedded server found its port taken {_PORT_ATTEMPTS} times; try again.")

    def _launch(self, timeout_seconds: float) -> bool:
        """One attempt on the current port; False if somebody else has that port."""
        assert self._lock is not None
        users = [f"user {user}" for user in (admin(self._password), *self._users.values())]
        configuration = write_server_files(self._folder, port=self._port, users=users)
        with self._log.open("wb") as output:
            self._process = spawn_tethered(
                [str(self._binary), str(configuration)],
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                output=output,
                death_signal=signal.SIGTERM,
                # The server holds the lock too: while it lives, nobody else opens its files.
                pass_fds=(self._lock,),
            )
        if not self._answers_in(timeout_seconds, self._process):
            return False
        self._record().write(self._folder)
        return True

    def _record(self) -> ServerRecord:
        return ServerRecord(url=self.url, pid=self.pid, owner_pid=os.getpid(), users=tuple(self._users))

    def _answers_in(self, timeout_seconds: float, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + timeout_seconds
        # Before that line the port may be a stranger's, who must not be shown the password.
        while "Ready to accept connections" not in self._said() or answering_pid(self.url) != process.pid:
            if process.poll() is not None:
                if "Address already in use" in self._said():
                    return False
                raise EmbeddedServerError(self._last_words(f"ended with status {process.returncode}"))
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise EmbeddedServerError(self._last_words(f"did not answer within {timeout_seconds:g} s"))
            time.sleep(PAUSE_SECONDS)
        return True

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _last_words(self, what: str) -> str:
        said = "\n".join(f"  {line}" for line in self._said().splitlines()[-_LINES_SHOWN:])
        way_out = f"See {self._log}, or set redis_url to a running server."
        if "append only file" in said.lower():
            way_out = f"To start without the old data, move {self._folder / 'appendonlydir'} away. {way_out}"
        return f"The embedded server ({self._binary}) {what}. Its last words:\n{said}\n{way_out}"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
