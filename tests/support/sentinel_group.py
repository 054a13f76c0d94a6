"""A primary with replicas, watched by Sentinels, all of them real; whoever is killed can be started again.

Servers and Sentinels have passwords, each its own. Each server writes its own configuration file, as Sentinel wants it.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from queues.connections import connect
from queues.passwords import as_user
from queues.sentinels import Sentinels
from queues.server_config import find_server_binary
from queues.settings import Settings
from tests.support.ports import free_port
from tests.support.redis_users import let_in
from tests.support.waiting import wait_until

SERVICE = "mymaster"
OWNER, WATCHER = "of-the-owner", "of-the-sentinels"
# A busy machine may keep everybody waiting for a second.
DOWN_AFTER_MS = 2000
_SERVER = """\
bind 127.0.0.1
port {port}
dir "{folder}"
aclfile "{folder}/users.acl"
masterauth {owner}
appendonly yes
save ""
repl-diskless-sync-delay 0
repl-timeout 10
min-replicas-to-write {fewest}
"""
_SENTINEL = """\
bind 127.0.0.1
port {port}
dir "{folder}"
requirepass {watcher}
sentinel monitor {service} 127.0.0.1 {primary} {quorum}
sentinel auth-pass {service} {owner}
sentinel down-after-milliseconds {service} {down_after}
sentinel failover-timeout {service} 3000
sentinel sentinel-pass {watcher}
"""


class Process:
    """A server or a Sentinel of the binary, on a port of its own."""

    def __init__(self, folder: Path, configuration: str, *options: str, **values: object) -> None:
        folder.mkdir()
        self.port = free_port()
        self._file, self._options, self._log = folder / "server.conf", options, folder / "server.log"
        (folder / "users.acl").write_text(f"user default on >{OWNER} ~* &* +@all\n")
        self._file.write_text(
            configuration.format(port=self.port, folder=folder, owner=OWNER, watcher=WATCHER, **values)
        )
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(find_server_binary()), str(self._file), *self._options], stdout=output, stderr=output
            )

    def kill(self) -> None:
        """SIGKILL, also of one that is frozen."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class Server(Process):
    """One that keeps data; `operator` may do everything there."""

    def __init__(self, folder: Path, *, of: int | None = None, fewest: int = 0) -> None:
        follows = f"replicaof 127.0.0.1 {of}\n" if of is not None else ""
        super().__init__(folder, _SERVER + follows, fewest=fewest)
        self.url = f"redis://:{OWNER}@127.0.0.1:{self.port}/0"
        self.operator: redis.Redis = connect(self.url, client_name="operator")
        wait_until(self.answers, "the server answers", timeout_seconds=30)

    def answers(self) -> bool:
        try:
            return bool(self.operator.ping())
        except redis.ConnectionError:
            return False

    def replication(self) -> dict[str, object]:
        """What it says of its part; nothing while it is away."""
        try:
            told = self.operator.info("replication")
        except redis.RedisError:
            return {}
        assert isinstance(told, dict)
        return told


class SentinelGroup:
    """`url` leads its owner to the primary, whichever that is.

    With two replicas or more the primary takes writes only while one of them is in step.
    """

    def __init__(self, folder: Path, *, replicas: int = 1, sentinels: int = 3) -> None:
        self._stack = ExitStack()
        self._folder, self._wanted = folder, (replicas, sentinels)
        self.servers: list[Server] = []
        self.sentinels: list[Process] = []

    def __enter__(self) -> Self:
        replicas, sentinels = self._wanted
        with ExitStack() as stack:
            for number in range(1 + replicas):
                of = self.servers[0].port if number else None
                self.servers.append(Server(self._folder / f"server-{number}", of=of, fewest=int(replicas > 1)))
                stack.callback(self.servers[-1].kill)
                stack.callback(self.servers[-1].operator.close)
            for number in range(sentinels):
                sentinel = Process(
                    self._folder / f"sentinel-{number}", _SENTINEL, "--sentinel", service=SERVICE,
                    primary=self.servers[0].port, quorum=sentinels // 2 + 1, down_after=DOWN_AFTER_MS,
                )  # fmt: skip
                self.sentinels.append(sentinel)
                stack.callback(sentinel.kill)
            self._asked = Sentinels(
                [("127.0.0.1", sentinel.port) for sentinel in self.sentinels], login={"password": WATCHER}, tls={}
            )
            wait_until(self._is_whole, "Sentinels know each other and the replicas", timeout_seconds=60)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{OWNER}@{places}/{SERVICE}/0?sentinel_password={WATCHER}"

    def url_of(self, user: str, password: str) -> str:
        """The same for another user of the servers."""
        return as_user(self.url, user, password)

    def let_in(self, settings: Settings) -> None:
        """Set the project's users on all servers, for good: users are not replicated."""
        for server in self.servers:
            let_in(server.url, settings)
            server.operator.acl_save()

    def primary(self) -> Server:
        """The one that the Sentinels name."""
        _, port = self._asked.discover_master(SERVICE)
        return next(server for server in self.servers if server.port == port)

    def replicas(self) -> Sequence[Server]:
        primary = self.primary()
        return [server for server in self.servers if server is not primary]

    def is_in_step(self) -> bool:
        """Whether every replica that runs has all."""
        here = self.primary().replication()
        there = [server.replication() for server in self.replicas()]
        return bool(here) and all(
            told.get("master_link_status") == "up" and told["master_repl_offset"] == here["master_repl_offset"]
            for told in there
        )

    def has_moved_from(self, old: Server) -> bool:
        """Whether the Sentinels name another primary by now, and it is one."""
        try:
            return self.primary() is not old and self.primary().replication().get("role") == "master"
        except redis.ConnectionError:
            return False

    def fail_over(self) -> Server:
        """Kill the primary, and return the server that takes its place once it has."""
        old = self.primary()
        old.kill()
        wait_until(lambda: self.has_moved_from(old), "another server is the primary", timeout_seconds=90)
        return self.primary()

    def swap(self) -> Server:
        """Have a replica take the primary's place while that one is well, as before maintenance.

        Coordinated: the primary takes no more writes until the replica has all. Without that word it would go on for a
        moment, and what it took then would be gone.
        """
        old = self.primary()
        with connect(f"redis://:{WATCHER}@127.0.0.1:{self.sentinels[0].port}/0") as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE, "COORDINATED")
        wait_until(lambda: self.has_moved_from(old), "another server is the primary", timeout_seconds=90)
        return self.primary()

    def restore(self) -> None:
        """Start again who was killed; once this returns all replicas follow the primary."""
        for server in self.servers:
            if server.process.poll() is not None:
                server.start()
        wait_until(self._is_whole, "all replicas follow again", timeout_seconds=90)

    def _is_whole(self) -> bool:
        replicas, sentinels = self._wanted
        try:
            states = [self._asked.asked(place, "sentinel_master", SERVICE) for place in self._asked.places]
            linked = [server.replication().get("master_link_status") for server in self.replicas()]
        except redis.ConnectionError:
            return False
        known = all(
            state["num-other-sentinels"] == sentinels - 1 and state["num-slaves"] == replicas for state in states
        )
        return known and linked == ["up"] * replicas
