"""What the tools of one pool may reach: names, ports, and how much of it.

It never connects; its sentences are read by a model, which can act on them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from ipaddress import ip_address

from workers.addresses import Address, refusal

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
# A resolver takes 127.1 and 0x7f000001 for addresses, so no name may end like one.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SHOWN_DOMAINS = 10


@dataclass(frozen=True)
class Policy:
    """The allowlist of a pool, and the bounds of the proxy that keeps it; the bounds hold for each call."""

    domains: tuple[str, ...]
    ports: tuple[int, ...] = (443, 80)
    allow_private: bool = False
    connections: int = 64
    traffic_bytes: int = 1 << 30
    head_bytes: int = 16 * 1024
    head_seconds: float = 10
    connect_seconds: float = 10
    idle_seconds: float = 60

    def to_json(self) -> str:
        """The policy as the proxy's process reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """The same policy again."""
        told = json.loads(text)
        return cls(**{**told, "domains": tuple(told["domains"]), "ports": tuple(told["ports"])})

    def refused(self, host: str, port: int) -> str | None:
        """Why `host` (normal form) and `port` are not to be reached, as a sentence; None if they may be."""
        if not self._listed(host):
            kind = "address" if _literal(host) is not None else "host"
            return f"{host} is not in this pool's allow_domains. This {kind} cannot be reached; {self._offer()}"
        if port not in self.ports:
            allowed = ", ".join(str(number) for number in self.ports)
            return f"Port {port} is not in this pool's allow_ports. On {host} use one of these ports: {allowed}."
        return None

    def refused_address(self, host: str, addresses: Sequence[Address]) -> str | None:
        """Why none of the addresses that `host` resolved to may be connected to; None if all of them may be.

        One bad address among good ones condemns the name: whoever answers so tries to lead somewhere.
        """
        for address in addresses:
            kind = refusal(address, allow_private=self.allow_private)
            if kind is not None:
                return f"{host} leads to {address}, {kind}, which this pool may not reach."
        return None

    def _listed(self, host: str) -> bool:
        if host in self.domains:
            return True
        if _literal(host) is not None:
            return False
        return any(domain.startswith("*.") and host.endswith(domain[1:]) for domain in self.domains)

    def _offer(self) -> str:
        shown = ", ".join(self.domains[:_SHOWN_DOMAINS])
        more = len(self.domains) - _SHOWN_DOMAINS
        return f"these can be: {shown}{f' and {more} more' if more > 0 else ''}."


def normal_host(written: str) -> str | None:
    """A host's name or literal address in the one form that is compared; None if it is neither."""
    literal = _literal(written[1:-1] if written.startswith("[") and written.endswith("]") else written)
    if literal is not None:
        return str(literal)
    name = written.lower().removesuffix(".")
    if len(name) > 253 or _NAME.fullmatch(name) is None or _NUMBER.fullmatch(name.rpartition(".")[2]):
        return None
    return name


def _literal(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
