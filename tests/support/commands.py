"""Counts what a server is sent, each command by its name: what clients send, not what scripts call inside."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import redis

_BEGIN, _END = "begin-to-count", "end-of-counting"


@contextmanager
def counted_commands(connection: redis.Redis) -> Iterator[Counter[str]]:
    """The commands that all clients send within the block, once it has ended."""
    counted: Counter[str] = Counter()
    listening, counting = threading.Event(), threading.Event()

    def listen() -> None:
        with connection.monitor() as monitor:  # type: ignore[no-untyped-call]
            listening.set()
            for told in monitor.listen():
                words = str(told["command"]).split()
                if words == ["ECHO", _END]:
                    return
                if words == ["ECHO", _BEGIN]:
                    counting.set()
                elif counting.is_set() and told["client_type"] != "lua":
                    counted[words[0].lower()] += 1

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert listening.wait(timeout=10)
    # What it takes to open a connection for this is not counted.
    connection.echo(_BEGIN)
    assert counting.wait(timeout=10)
    yield counted
    connection.echo(_END)
    listener.join(timeout=10)
    assert not listener.is_alive()
