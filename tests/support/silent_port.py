"""A port at which nobody listens, for tests of those who knock there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses every connection, and that nobody else is given within the block.

    Who binds it by its number, and with SO_REUSEADDR as servers do, may listen there in the end.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port
