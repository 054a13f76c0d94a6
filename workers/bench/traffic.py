"""Which commands a server is sent, by whom, and which of them its scripts carry out: overheard with MONITOR.

It slows the server down, so nothing is timed meanwhile.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from queues.scripts import script_names
from workers.bench.errors import BenchError

# 1700000000.123456 [0 127.0.0.1:4711] "evalsha" "3f…" …; of a script's own commands the place is "lua".
_LINE = re.compile(r'\[\d+ (\S+)\] "((?:[^"\\]|\\.)*)"(?: "((?:[^"\\]|\\.)*)")?')
_SECONDS = 30.0


@dataclass
class Traffic:
    """Commands that were sent, by sender and name, and those that scripts carried out, by name."""

    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    in_scripts: Counter[str] = field(default_factory=Counter)

    def names(self) -> Counter[str]:
        """The sent ones by name alone."""
        found: Counter[str] = Counter()
        for (_, name), number in self.sent.items():
            found[name] += number
        return found


@contextmanager
def overhearing(connection: redis.Redis) -> Iterator[Traffic]:
    """What the server is sent within the block, by others than this connection's user; complete after the block."""
    traffic, mark, lines = Traffic(), uuid.uuid4().hex, list[str]()
    who = _senders(connection)
    begun, over = threading.Event(), threading.Event()

    def listen() -> None:
        with connection.monitor() as monitor:  # type: ignore[no-untyped-call]
            begun.set()
            while mark not in (line := _text(monitor.connection.read_response())):
                lines.append(line)
        over.set()

    threading.Thread(target=listen, name="overhearing", daemon=True).start()
    begun.wait(_SECONDS)
    try:
        yield traffic
    finally:
        connection.echo(mark)
    if not over.wait(_SECONDS):
        raise BenchError("What the server is sent could not be overheard with MONITOR.")
    # Whoever connected meanwhile is known now.
    _count(lines, {**_senders(connection), **who}, traffic, own=str(connection.acl_whoami()))


def _count(lines: list[str], who: dict[str, str], traffic: Traffic, *, own: str) -> None:
    scripts = script_names()
    for line in lines:
        found = _LINE.search(line)
        if found is None:
            continue
        place, name, argument = found[1], found[2].lower(), found[3] or ""
        if place == "lua":
            traffic.in_scripts[name] += 1
        elif (sender := who.get(place, "others")) != own:
            shown = f"{name} {scripts.get(argument, 'a script of Kombu')}" if name == "evalsha" else name
            traffic.sent[sender, shown] += 1


def _senders(connection: redis.Redis) -> dict[str, str]:
    """Whose connections there are, by the place that MONITOR names."""
    clients: list[dict[str, Any]] = connection.client_list()
    return {str(client["addr"]): str(client["user"]) for client in clients}


def _text(line: object) -> str:
    return line.decode("utf-8", "replace") if isinstance(line, bytes) else str(line)
