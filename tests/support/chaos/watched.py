"""A fleet whose store is a primary with replicas behind Sentinel, and who plays the part of its server."""

from __future__ import annotations

from pathlib import Path

from queues.acl import PRODUCER, roles
from queues.client import Client
from queues.passwords import complete_passwords
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.server import Server
from tests.support.sentinel_group import SentinelGroup


class WatchedServer:
    """The group as one server, whose users are on all of its servers."""

    def __init__(self, folder: Path, pools: list[str]) -> None:
        self.group = SentinelGroup(folder, replicas=2)
        folder.mkdir()
        self.group.__enter__()
        described = roles(pools, durability="replica")
        self._passwords = complete_passwords(folder / "users.json", [role.user for role in described])
        for server in self.group.servers:
            for role in described:
                words = role.setuser(self._passwords[role.user]).split()
                server.operator.execute_command("ACL", "SETUSER", *words)  # type: ignore[no-untyped-call]
            server.operator.acl_save()

    @property
    def url(self) -> str:
        return self.group.url

    @property
    def pid(self) -> int:
        return self.group.primary().process.pid

    @property
    def is_alive(self) -> bool:
        return all(server.process.poll() is None for server in self.group.servers)

    def url_of(self, user: str) -> str:
        return self.group.url_of(user, self._passwords[user])

    def revive(self) -> bool:
        if self.is_alive:
            return False
        self.group.restore()
        return True

    def stop(self) -> None:
        self.group.__exit__(None, None, None)


class WatchedFleet(Fleet):
    """Its client has each submit confirmed by a replica."""

    server: WatchedServer

    def _open_server(self) -> Server:
        return WatchedServer(self.folder / "server", list(self.settings.pools))

    def careful_client(self) -> Client:
        return Client(self.server.url_of(PRODUCER), durability="replica")
