"""Ports for servers that have to be told theirs, and that may be killed and started again under it.

The kernel gives ports of its own range to everybody who asks for any. Between the choice and the use, and while a
killed server is away, another test's server would get it now and then. So these come from below that range.
"""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import suppress
from pathlib import Path

_LOWEST, _USUAL_END = 15_000, 32_768
_STRIDE = 211  # more than one process takes; their numbers are often neighbours


def _end() -> int:
    """Where the kernel's own range begins."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    return _USUAL_END


_COUNT = max(1000, min(_end(), _USUAL_END) - _LOWEST)
_numbers = itertools.count(os.getpid() * _STRIDE)


def free_port() -> int:
    """A port on which nobody listens, another one each time."""
    for _ in range(_COUNT):
        port = _LOWEST + next(_numbers) % _COUNT
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")
