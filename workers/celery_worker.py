"""Starts a Celery worker of ours: its arguments, its logging, and what lives as long as it does; no task bodies."""

from __future__ import annotations

import gc
import os
import signal
import socket
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

from celery import Celery, bootsteps, signals

from workers.draining import Drain

SetUp = Callable[[ExitStack], None]


def identity(node: str) -> str:
    """A name for this process's leases that no other process, past or present, bears."""
    return f"{node}@{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def attach(app: Celery, set_up: SetUp, *, drain: Drain) -> None:
    """Run `set_up` once the worker is ready; what it puts on the stack is closed after the last task has ended.

    However the worker is told to stop, by a signal or from afar, its drain begins then.
    """
    stack = ExitStack()

    class Draining(bootsteps.StartStopStep):  # type: ignore[misc]
        def close(self, parent: object) -> None:
            drain.begin()

    app.steps["worker"].add(Draining)

    def begin(**_: object) -> None:
        stack.callback(drain.close)
        _heed_signals(drain)
        set_up(stack)

    def end(**_: object) -> None:
        stack.close()

    def settle(**_: object) -> None:
        signals.task_postrun.disconnect(settle)
        _spare_what_stays()

    # A weak reference would let go of these closures at once.
    signals.task_postrun.connect(settle, weak=False)
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


def _spare_what_stays() -> None:
    """Take what is loaded by now out of all later searches for garbage, since it stays for good.

    A search through all of it takes a tenth of a second, in which no thread does anything. Called after the first task,
    because that loads much, the model's SDK for one.
    """
    gc.collect()
    gc.freeze()


def _heed_signals(drain: Drain) -> None:
    """SIGTERM, Ctrl-C and a closed terminal drain; a second one of them, or SIGQUIT, hands back what is held at once.

    In place of Celery's own: there a second Ctrl-C or SIGQUIT waits for the threads all the same, and SIGHUP starts the
    process anew under its old arguments. Only in the main thread.
    """
    stop_softly = signal.getsignal(signal.SIGTERM)
    assert callable(stop_softly)

    def stop(number: int, frame: FrameType | None) -> None:
        if drain.has_begun or number == signal.SIGQUIT:
            drain.hurry()
        drain.begin()
        stop_softly(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
