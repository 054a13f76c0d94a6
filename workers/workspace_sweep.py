"""Removes the workspaces of runs that Redis has let go of, now and then, beside the work of a tool worker.

It never touches one that a call holds, and a Redis that cannot be reached means that nothing is removed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import redis

from workers.sandbox.workspace import WorkspaceStore

SWEEP_SECONDS = 600.0
_log = logging.getLogger(__name__)


class WorkspaceSweep:
    """Sweeps at its start and then again and again, in a thread of its own, until it is closed."""

    def __init__(
        self,
        store: WorkspaceStore,
        known: Callable[[Sequence[str]], Sequence[bool]],
        *,
        every_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._store = store
        self._known = known
        self._every_seconds = every_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._sweep, name="workspace-sweep", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def close(self) -> None:
        """Sweep no more; a repeat does nothing."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _sweep(self) -> None:
        while True:
            try:
                removed = self._store.sweep(self._known)
            except (redis.RedisError, OSError) as error:
                _log.warning("workspaces are not swept this time: %s", error)
            else:
                if removed:
                    _log.info("workspaces removed of %d runs that are gone", len(removed))
            if self._closing.wait(self._every_seconds):
                return
