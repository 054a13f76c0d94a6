"""Runs a worker's app in this process until it is told to leave: its log, its readiness, its exit code.

Never builds the app; that is the business of `agent_worker` and `tool_worker`.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence

from celery import Celery, signals
from celery.apps import worker as worker_program
from celery.apps.worker import Worker
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning

READY = "worker is ready"
"""What the log says once the worker takes work; the supervisor waits for it."""

_log = logging.getLogger("errandry")


def run_worker(app: Celery, arguments: Sequence[str], *, ready: str) -> int:
    """Work until SIGTERM or Ctrl-C, then finish what is held; returns the exit code, 0 for an orderly end.

    `ready` is added to the line that says that work is taken from now on. The log has been started.
    """
    workers: list[Worker] = []

    def leave_the_log(**_: object) -> None:
        """Celery sets a log up unless somebody listens here; it has just asked for warnings that are not for users."""
        warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

    def remember(instance: Worker, **_: object) -> None:
        # Celery's command keeps the exit code of its worker to itself.
        workers.append(instance)

    def tell(**_: object) -> None:
        _log.info("%s: %s", READY, ready)

    # Weak references would let go of these closures at once.
    signals.setup_logging.connect(leave_the_log, weak=False)
    signals.celeryd_init.connect(remember, weak=False)
    signals.worker_ready.connect(tell, weak=False)
    # What Celery says of a stop goes past the log, in a form of its own; the drain says it in the log.
    worker_program.safe_say = _say_nothing
    if os.geteuid() == 0:
        # In place of Celery's own warning, which is eight lines long.
        warnings.simplefilter("ignore", SecurityWarning)
        _log.warning("this worker runs as root; give it a user of its own where others can reach its queue")
    app.worker_main(["--quiet", *arguments])
    return (workers[-1].exitcode or 0) if workers else 1


def _say_nothing(*_: object) -> None:
    """In place of Celery's way to write to the terminal."""
