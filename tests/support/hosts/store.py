"""A store as an operator sets it up on a host of its own; its users are those that `errandry acl` prints."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

from queues.passwords import as_user, read_passwords
from queues.server_config import find_server_binary
from queues.settings import Settings
from queues.tether import spawn_tethered
from tests.support.hosts.places import Host
from tests.support.waiting import wait_until

_PORT = 6379
_OWNER = "owner"
_READY = "Ready to accept connections"
_START_SECONDS = 30.0
_SETTINGS = """\
bind {address}
port {port}
dir {folder}
aclfile {folder}/users.acl
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
tcp-keepalive 60
"""


class HostedStore:
    """A server on `host`, started by its making; `stop` ends it. Its settings name it, and a file of passwords."""

    def __init__(self, folder: Path, host: Host, settings: Settings) -> None:
        self._folder, self._host, self._settings = folder, host, settings
        self._password = secrets.token_urlsafe(32)
        folder.mkdir()
        owner = f"user {_OWNER} on #{hashlib.sha256(self._password.encode()).hexdigest()} ~* &* +@all"
        (folder / "users.acl").write_text(f"user default off\n{owner}\n{_rules(settings)}")
        (folder / "server.conf").write_text(_SETTINGS.format(address=host.address, port=_PORT, folder=folder))
        self._process = self._launched()

    @property
    def url(self) -> str:
        """For its owner, who may do everything."""
        return as_user(address_on(self._host), _OWNER, self._password)

    def url_of(self, user: str) -> str:
        """For one of the project's users."""
        assert self._settings.redis_users_file is not None
        return as_user(address_on(self._host), user, read_passwords(self._settings.redis_users_file)[user])

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def revive(self) -> bool:
        """Start it again, with its data, if it has died; True if it had."""
        if self.is_alive:
            return False
        self._process = self._launched()
        return True

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _launched(self) -> subprocess.Popen[bytes]:
        log = self._folder / "server.log"
        with log.open("wb") as output:
            command = self._host.command(str(find_server_binary()), str(self._folder / "server.conf"))
            process = spawn_tethered(command, env={"LC_ALL": "C"}, output=output)
        # Its log says so, for it may be cut off from here just now.
        wait_until(lambda: _READY in log.read_text() or process.poll() is not None, "the store is ready",
                   timeout_seconds=_START_SECONDS)  # fmt: skip
        assert process.poll() is None, log.read_text()
        return process


def address_on(host: Host) -> str:
    """The URL of a store on the host, without a user."""
    return f"redis://{host.address}:{_PORT}/0"


def _rules(settings: Settings) -> str:
    """What `errandry acl` prints for the project; the passwords are made by the way."""
    root = Path(__file__).parents[3]
    env = {**os.environ, **settings.as_environment(), "PYTHONPATH": str(root)}
    command = [sys.executable, "-P", "-m", "workers.cli", "acl"]
    return subprocess.run(
        command, cwd=settings.project_dir, env=env, capture_output=True, text=True, check=True, timeout=60
    ).stdout
