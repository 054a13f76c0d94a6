"""A fleet on three hosts: the store; the agent workers with their model; the tool workers, which reach the store only.

Producers and people are a fourth place, from which the store is reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.support.chaos.fleet import Fleet
from tests.support.chaos.server import Server
from tests.support.chaos.shapes import Shape
from tests.support.hosts.places import Hosts
from tests.support.hosts.store import HostedStore, address_on

STORE, AGENTS, TOOLS = "store", "agents", "tools"


class HostedFleet(Fleet):
    """As a fleet; its `hosts` can be cut off. `one_way_seconds`: how far the workers are from the store.

    The thread that enters it stands between the hosts for as long.
    """

    def __init__(
        self,
        folder: Path,
        shapes: Iterable[Shape],
        *,
        seats: dict[str, int],
        lease_seconds: float = 2.0,
        drain_seconds: float = 20.0,
        one_way_seconds: float = 0.0,
    ) -> None:
        super().__init__(folder, shapes, seats=seats, lease_seconds=lease_seconds, drain_seconds=drain_seconds)
        self.hosts = Hosts(STORE, AGENTS, TOOLS, one_way_seconds=one_way_seconds, mark=str(folder))

    def __enter__(self) -> Self:
        self.hosts.__enter__()
        try:
            return super().__enter__()
        except BaseException:
            self.hosts.close()
            raise

    def stop(self) -> None:
        for host in self.hosts.cut_off:
            self.hosts.heal(host)
        super().stop()
        self.hosts.close()

    def _open_server(self) -> Server:
        return HostedStore(self.folder / "server", self.hosts[STORE], self.settings)

    def _inside(self, seat: str) -> tuple[str, ...]:
        return tuple(self.hosts[AGENTS if seat == "agents" else TOOLS].command())

    def _address(self) -> dict[str, object]:
        return {"redis_url": address_on(self.hosts[STORE]), "redis_users": Path("users.json")}
