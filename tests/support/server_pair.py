"""Two plain servers, a primary and a replica, for fail-overs; the link between them can be stalled by a proxy."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from queues.connections import connect
from queues.server_config import find_server_binary
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

_LONGEST_HOLD_MS = 60_000


class Server:
    """One of them, with its own folder; it has no users and listens on this machine only."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = {"bind": "127.0.0.1", "port": self.port, "dir": folder, "appendonly": "yes", "save": "",
                   "repl-diskless-sync-delay": 0}  # fmt: skip
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen([str(find_server_binary()), *words], stdout=subprocess.DEVNULL)
        self.operator: redis.Redis = connect(self.url, client_name="operator")
        wait_until(self._answers, "the server answers")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        self.operator.close()
        self.kill()

    def _answers(self) -> bool:
        try:
            return bool(self.operator.ping())
        except redis.ConnectionError:
            return False


class ServerPair:
    """A primary behind a proxy that clients use, and its replica. `fail_over` leads the clients to the replica."""

    def __init__(self, folder: Path) -> None:
        self.primary, self.replica = Server(folder / "primary"), Server(folder / "replica")
        self.link, self.front = Proxy(self.primary.port), Proxy(self.primary.port)

    def __enter__(self) -> Self:
        self.link.__enter__()
        self.front.__enter__()
        self.url = f"redis://127.0.0.1:{self.front.port}/0"
        self.replica.operator.replicaof("127.0.0.1", str(self.link.port))
        wait_until(lambda: self.replica.operator.info("replication")["master_link_status"] == "up", "it replicates")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for proxy in (self.front, self.link):
            proxy.__exit__(kind, error, trace)
        for server in (self.primary, self.replica):
            server.close()

    def lag(self) -> None:
        """From here on nothing more reaches the replica."""
        self.link.stall()
        wait_until(lambda: not self.link._flowing.is_set(), "nothing flows")

    def hold_writes(self) -> None:
        """From here on the primary answers no write, so that a replica that has all goes on having all."""
        self.primary.operator.execute_command("CLIENT", "PAUSE", _LONGEST_HOLD_MS, "WRITE")  # type: ignore[no-untyped-call]

    def fail_over(self) -> None:
        """The primary dies; the replica takes its place, with what had reached it."""
        self.primary.kill()
        self.replica.operator.replicaof("NO", "ONE")
        self.front.target = self.replica.port
        self.front.cut()
