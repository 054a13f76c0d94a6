"""A real worker that breaks at the n-th telemetry event of a name, as an order in a file tells it to.

BREAKING_MODULE=workers.agent_worker BREAKING_FOLDER=/tmp/x celery -A tests.support.breaking worker …

Events are counted over all workers that share the folder; the one at whose event the order is due carries it out, once.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery import Celery

from agent_core.telemetry import listen
from queues import keys
from queues.connections import connect
from queues.envelopes import Envelope, call_envelope, continuation_envelope, start_envelope
from queues.runs import Runs
from queues.timing import Timing

FAULTS = ("kill", "freeze", "drop", "double")
"""What a worker can do to itself; besides, `kill server` and `freeze server` end and stop the process `server`."""


@dataclass(frozen=True)
class Order:
    """What to do at the given occurrence of an event; events of past runs do not count."""

    event: str
    occurrence: int
    fault: str
    redis_url: str
    past: list[str]
    server: int = 0


@dataclass(frozen=True)
class Broken:
    """Who carried the order out, and at which event."""

    pid: int
    told: Mapping[str, Any]


class Bench:
    """The folder through which a test and the workers that it breaks talk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._order, self._count, self._broken = folder / "order", folder / "count", folder / "broken"
        self._lock = folder / "lock"

    def give(self, order: Order) -> None:
        """Arm the workers; what was ordered before is forgotten."""
        with self._locked():
            self._count.unlink(missing_ok=True)
            self._broken.unlink(missing_ok=True)
            self._order.write_text(json.dumps(asdict(order)))

    def broken(self) -> Broken | None:
        """Who has broken, once somebody has."""
        with self._locked():
            return Broken(**json.loads(self._broken.read_text())) if self._broken.exists() else None

    def due(self, event: str, told: Mapping[str, object]) -> Order | None:
        """The order, if this event is the one that it waits for."""
        with self._locked():
            if not self._order.exists() or self._broken.exists():
                return None
            order = Order(**json.loads(self._order.read_text()))
            if event != order.event or told.get("run_id") in order.past:
                return None
            seen = (int(self._count.read_text()) if self._count.exists() else 0) + 1
            self._count.write_text(str(seen))
            if seen != order.occurrence:
                return None
            self._broken.write_text(json.dumps(asdict(Broken(os.getpid(), dict(told)))))
            return order

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def carry_out(order: Order, told: Mapping[str, object]) -> None:
    """Break this process, its connections or its messages."""
    match order.fault:
        case "kill":
            _signal_here(signal.SIGKILL)
        case "freeze":
            _signal_here(signal.SIGSTOP)
        case "drop":
            _drop_connections(order.redis_url)
        case "double":
            _double_messages(order.redis_url, told.get("run_id"))
        case "kill server":
            os.kill(order.server, signal.SIGKILL)
        case "freeze server":
            os.kill(order.server, signal.SIGSTOP)
        case _:
            raise ValueError(f"no fault is named {order.fault!r}; choose one of {', '.join(FAULTS)}")


def _signal_here(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    # Another thread may be the one that takes the signal; until it does, this one must not get any further.
    time.sleep(1)


def _drop_connections(redis_url: str) -> None:
    """Have the server end every connection of this process."""
    with connect(redis_url) as operator:
        for address in _addresses(urlsplit(redis_url).port):
            operator.client_kill_filter(addr=address, skipme=True)


def _addresses(port: int | None) -> list[str]:
    """The near ends of this process's connections to a port of this machine."""
    found = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            # A copy of a pipe's end would keep a sandbox waiting for the end of its request.
            if not stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as near:
                if near.family == socket.AF_INET and near.getpeername()[1] == port:
                    found.append("{}:{}".format(*near.getsockname()))
    return found


def _double_messages(redis_url: str, run_id: object) -> None:
    """Push each message of the run's walk twice, the last ones first."""
    with connect(redis_url) as operator:
        named = str(run_id or operator.zrange(keys.RUNS, 0, 0, desc=True)[0])
        for envelope in reversed(_envelopes(Runs(operator, timing=Timing()), named)):
            for _ in range(2):
                operator.lpush(envelope.queue, envelope.render())


def _envelopes(runs: Runs, run_id: str) -> list[Envelope]:
    snapshot = runs.load(run_id).snapshot
    agent = snapshot.output.agent_name
    calls = [
        call_envelope(call.pool, call.tool_name, (run_id, call.step, call.tool_call_id), "normal", parent_id=run_id)
        for call in snapshot.output.tools
        if call.pool is not None
    ]
    continuations = [continuation_envelope(agent, run_id, step, "normal") for step in (1, 2)]
    return [start_envelope(agent, run_id, "normal"), *calls, *continuations]


def __getattr__(name: str) -> Celery:
    if name not in ("app", "celery"):
        raise AttributeError(name)
    bench = Bench(Path(os.environ["BREAKING_FOLDER"]))

    def break_when_due(event: str, told: Mapping[str, object]) -> None:
        if (order := bench.due(event, told)) is not None:
            carry_out(order, told)

    listen(break_when_due)
    app: Celery = importlib.import_module(os.environ["BREAKING_MODULE"]).app
    return app
