"""From a host's name to a connection: looked up once, every address checked, and the checked one connected to.

It never asks the resolver a second time, so a name that changes its mind leads nowhere.
"""

from __future__ import annotations

import asyncio
import socket

from workers.addresses import Address
from workers.resolving import Resolver, addresses_of
from workers.sandbox.egress.policy import Policy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RefusedError(Exception):
    """The request is answered with `status` and these words, and nothing of it goes out."""

    def __init__(self, words: str, status: int = 403) -> None:
        super().__init__(words)
        self.status = status


async def reach(host: str, port: int, *, policy: Policy, resolver: Resolver) -> Streams:
    """A connection to `host`, if the policy allows its name, its port and all of its addresses; else RefusedError."""
    words = policy.refused(host, port)
    if words is not None:
        raise RefusedError(words)
    addresses = await _addresses(host, port, policy, resolver)
    words = policy.refused_address(host, addresses)
    if words is not None:
        raise RefusedError(words)
    failure = ""
    for address in addresses:
        try:
            async with asyncio.timeout(policy.connect_seconds):
                # The very address that was checked, in numbers: whatever the name means by now does not matter.
                return await asyncio.open_connection(
                    str(address), port, flags=socket.AI_NUMERICHOST, limit=policy.head_bytes
                )
        except TimeoutError:
            failure = "no answer in time"
        except OSError as error:
            failure = error.strerror or "connection failed"
    raise RefusedError(f"{host} is allowed but cannot be reached on port {port}: {failure}.", 502)


async def _addresses(host: str, port: int, policy: Policy, resolver: Resolver) -> list[Address]:
    try:
        async with asyncio.timeout(policy.connect_seconds):
            addresses = await addresses_of(host, port, resolver)
    except (OSError, ValueError) as error:
        raise RefusedError(f"{host} is allowed but its name cannot be resolved.", 502) from error
    if not addresses:
        raise RefusedError(f"{host} is allowed but its name has no address.", 502)
    return addresses
