"""What one call reached and was refused: names and bytes, counted where they pass.

It never keeps more than a bounded number of names, whatever a tool tries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_MOST_NAMES = 100
_OTHERS = "(others)"


@dataclass
class Traffic:
    """The account of one call; grows until the call ends."""

    most_bytes: int
    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    total_bytes: int = 0

    def open(self, host: str, port: int) -> str:
        """The name under which a connection that goes out is counted."""
        name = _name(host, port, self.sent)
        self.sent[name] += 0
        self.received[name] += 0
        return name

    def refuse(self, host: str, port: int) -> None:
        """Count a connection that did not go out; port 0: the name was asked for inside a tunnel."""
        self.refused[_name(host, port, self.refused)] += 1

    def count(self, among: Counter[str], name: str, size: int) -> bool:
        """Add `size` bytes, unless the call would then have moved more than it may: then False, and it may no more."""
        if self.total_bytes + size > self.most_bytes:
            self.total_bytes = self.most_bytes
            return False
        among[name] += size
        self.total_bytes += size
        return True

    @property
    def used_up(self) -> bool:
        """Whether the call may move no more bytes."""
        return self.total_bytes >= self.most_bytes

    def told(self) -> dict[str, dict[str, int]]:
        """The account as it is reported."""
        return {"sent": dict(self.sent), "received": dict(self.received), "refused": dict(self.refused)}


def _name(host: str, port: int, among: Counter[str]) -> str:
    name = f"{host}:{port}" if port else host
    return name if name in among or len(among) < _MOST_NAMES else _OTHERS
