"""Starts a Celery worker of ours: its arguments, its logging, and what lives as long as it does; no task bodies."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from contextlib import ExitStack

from celery import Celery, signals

SetUp = Callable[[ExitStack], None]


def identity(node: str) -> str:
    """A name for this process's leases that no other process, past or present, bears."""
    return f"{node}@{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def attach(app: Celery, set_up: SetUp) -> None:
    """Run `set_up` once the worker is ready; what it puts on the stack is closed after the last task has ended."""
    stack = ExitStack()

    def begin(**_: object) -> None:
        set_up(stack)

    def end(**_: object) -> None:
        stack.close()

    # A weak reference would let go of these closures at once.
    signals.worker_ready.connect(begin, weak=False)
    signals.worker_shutdown.connect(end, weak=False)


def arguments(*, node: str, concurrency: int, loglevel: str) -> list[str]:
    """Celery's own arguments for our workers: threads, because a task only waits, and no gossip with the others."""
    return [
        "worker",
        "--pool=threads",
        f"--concurrency={concurrency}",
        f"--hostname={node}@%h",
        "--without-gossip",
        "--without-mingle",
        "--task-events",
        f"--loglevel={loglevel}",
    ]
