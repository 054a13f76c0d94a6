"""The bounded end of a worker: what it holds is finished, and what is not finished in time is handed back.

Never takes part in the work; it says when to stop, and ends the process if a thread does not listen.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable

from queues.leases import LeaseKeeper

# How long holders get to stop and to write down what came of it, once everything was handed back.
_LEAVE_SECONDS = 3.0
# How long Redis gets to hear of what is handed back; what it does not hear of runs out by its lease.
_HAND_BACK_SECONDS = 5.0

_log = logging.getLogger("errandry")


def _end_process() -> None:
    # Not sys.exit: a thread that waits for a model would be waited for.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class Drain:
    """One stop of one worker, from `begin` to `close`. All methods may be repeated and called from any thread.

    After `begin` the worker has `bound_seconds` for what it holds; `hurry` cuts that short. Then all is handed back:
    runs go to other workers at once, from their last save; calls are stopped, their processes killed, and reported or
    executed again elsewhere, as their tools say. If the worker still has not left a little later, the process ends.
    """

    def __init__(
        self, leases: LeaseKeeper, *, bound_seconds: float, end_process: Callable[[], None] = _end_process
    ) -> None:
        self._leases = leases
        self._bound_seconds = bound_seconds
        self._end_process = end_process
        self._starting = threading.Lock()
        self._hurried = threading.Event()
        self._closed = threading.Event()

    @property
    def has_begun(self) -> bool:
        """Whether a stop is under way."""
        return self._starting.locked()

    def begin(self) -> None:
        """Start the clock; the worker has stopped taking work, or is about to."""
        # Never released, so that only the first one starts it; nor waited for, since signal handlers come here.
        if self._starting.acquire(blocking=False):
            threading.Thread(target=self._await_end, name="drain", daemon=True).start()

    def hurry(self) -> None:
        """The bound is over now."""
        self._hurried.set()

    def close(self) -> None:
        """The worker has left of itself."""
        self._closed.set()
        self._hurried.set()

    def _await_end(self) -> None:
        # Here and not in `begin`: signal handlers come there, and the log may be in the middle of a line.
        _log.info("leaving: nothing new is taken, and what is held may finish within %g s", self._bound_seconds)
        self._hurried.wait(self._bound_seconds)
        if self._closed.is_set():
            return
        _log.warning("what is not finished is handed back")
        # Redis may be out of reach, and each lease would wait for it in turn.
        handing_back = threading.Thread(target=self._leases.hand_back, name="hand-back", daemon=True)
        handing_back.start()
        handing_back.join(_HAND_BACK_SECONDS)
        if not self._closed.wait(_LEAVE_SECONDS):
            _log.warning("leaving although a thread is still busy; what it does is not waited for")
            self._end_process()
