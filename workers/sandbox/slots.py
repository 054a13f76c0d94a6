"""Zygotes that give one child at a time, as many of them as calls run at once: what a call leaves, its zygote can tell.

It never gives a zygote's second child while the first one lives, and never repeats a call.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.children import Child
from workers.sandbox.generation import Zygote, ZygoteBrokenError

ATTEMPTS = 3
# A zygote that is being made ready is there sooner than a new one.
PATIENCE_SECONDS = 0.5

_log = logging.getLogger(__name__)


class Slots:
    """Hands out sealed children, each of a zygote that has no other; safe to use from several threads at once.

    A zygote is used again once its child is gone and it has swept up after it; one that could not ends, and is replaced
    when it is needed. `start` and `stale` are as in `zygotes.Zygotes`.
    """

    def __init__(
        self, start: Callable[[], Zygote], *, recycle_after: int, stale: Callable[[], bool] = lambda: False
    ) -> None:
        self._start = start
        self._recycle_after = recycle_after
        self._stale = stale
        self._changed = threading.Condition()
        self._all: set[Zygote] = set()
        self._free: list[Zygote] = []
        self._returned: queue.SimpleQueue[Zygote | None] = queue.SimpleQueue()
        self._returning = 0
        self._closed = False
        self._keeper = threading.Thread(target=self._keep, name="sandbox-keeper", daemon=True)

    def open(self) -> None:
        """Start the first zygote, and keep one ready from here on; raises `SandboxUnavailableError`."""
        self._give_back(self._started())
        self._keeper.start()

    def take(self) -> Child:
        """A child that has been asked nothing; see `children.Children`."""
        words = ""
        for _ in range(ATTEMPTS):
            zygote = self._free_one() or self._started()
            try:
                child = zygote.spare() or zygote.order()
            except ZygoteBrokenError as error:
                words = str(error)
                _log.warning("a sandbox's zygote is replaced: %s", words)
                self._drop(zygote)
                continue
            over = child.over

            def back(unknown: bool, zygote: Zygote = zygote, over: Callable[[bool], None] = over) -> None:
                over(unknown)
                self._give_back(zygote)

            child.over = back
            child.reported = {"zygote_age_seconds": round(zygote.age_seconds, 3), "preloaded": not zygote.cold}
            return child
        raise SandboxUnavailableError(f"The sandbox cannot be set up for this call: {words}")

    def close(self) -> None:
        """End every zygote with its child; a repeat does nothing."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            zygotes = list(self._all)
            self._changed.notify_all()
        for zygote in zygotes:
            zygote.close()
        self._returned.put(None)
        if self._keeper.ident is not None:
            self._keeper.join()

    def _started(self) -> Zygote:
        zygote = self._start()
        with self._changed:
            if not self._closed:
                self._all.add(zygote)
                return zygote
        zygote.close()
        raise SandboxUnavailableError("The sandbox is closed; open another one.")

    def _free_one(self) -> Zygote | None:
        with self._changed:
            if not self._free and self._returning:
                self._changed.wait_for(lambda: self._free or self._closed, PATIENCE_SECONDS)
            while self._free:
                zygote = self._free.pop()
                if zygote.lives() and not self._stale():
                    return zygote
                self._all.discard(zygote)
                zygote.close()
        return None

    def _give_back(self, zygote: Zygote) -> None:
        with self._changed:
            self._returning += 1
        self._returned.put(zygote)

    def _drop(self, zygote: Zygote) -> None:
        with self._changed:
            self._all.discard(zygote)
        zygote.close()

    def _keep(self) -> None:
        while (zygote := self._returned.get()) is not None:
            ready = self._made_ready(zygote)
            with self._changed:
                self._returning -= 1
                if ready and not self._closed:
                    self._free.append(zygote)
                    self._changed.notify()
            if not ready:
                self._drop(zygote)

    def _made_ready(self, zygote: Zygote) -> bool:
        """Whether it can serve on; then its next child waits already."""
        if not zygote.lives() or zygote.taken >= self._recycle_after or self._stale():
            return False
        try:
            zygote.add_spare()
        except ZygoteBrokenError as error:
            if not self._closed:
                _log.warning("a sandbox's zygote is replaced: %s", error)
            return False
        return True
