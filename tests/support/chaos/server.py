"""What a fleet needs of its server, wherever that runs; an embedded one has it all."""

from __future__ import annotations

from typing import Protocol


class Server(Protocol):
    """A server that can be killed and revived under the same address, with the same data."""

    @property
    def url(self) -> str:
        """For its owner."""

    @property
    def pid(self) -> int: ...

    @property
    def is_alive(self) -> bool: ...

    def url_of(self, user: str) -> str:
        """For one of the project's users."""

    def revive(self) -> bool:
        """Start it again if it has died; True if it had."""

    def stop(self) -> None: ...
