"""From a host's name to its addresses, looked up once; connects to nothing and judges nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from ipaddress import ip_address

from workers.addresses import Address

Resolver = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int, *, threads: Executor | None = None) -> list[str]:
    """The addresses of a name as this machine's resolver gives them, which is asked in these threads or the loop's."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(threads, ask)
    return list(dict.fromkeys(str(answer[4][0]) for answer in found))


async def addresses_of(host: str, port: int, resolver: Resolver) -> list[Address]:
    """The literal address that `host` is, or what its name resolves to; OSError or ValueError if it does not."""
    try:
        return [ip_address(host)]
    except ValueError:
        return [ip_address(answer) for answer in await resolver(host, port)]
