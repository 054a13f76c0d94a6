"""A pool's zygotes: one serves, spares of it stand ready, and whichever died, hangs or served long enough is replaced.

It never repeats a call: a child that it hands out has been asked nothing, and what was asked stays with who asked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable

from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.children import Child
from workers.sandbox.generation import Chore, Zygote, ZygoteBrokenError

ATTEMPTS = 3
# A spare is made when a call ends, or after this time: a fork beside a short call would only slow it down.
REFILL_SECONDS = 0.02
TRY_AGAIN_SECONDS = 5

_log = logging.getLogger(__name__)


class Zygotes:
    """Hands out sealed children of one living zygote; safe to use from several threads at once.

    `start` makes a zygote that has been tried out, or raises `SandboxUnavailableError`. `stale` says whether the files
    that are to be hidden have changed since; such a zygote gives no further child.
    """

    def __init__(
        self,
        start: Callable[[], Zygote],
        *,
        spares: int,
        recycle_after: int,
        stale: Callable[[], bool] = lambda: False,
    ) -> None:
        self._start = start
        self._wanted = spares
        self._recycle_after = recycle_after
        self._stale = stale
        self._starting = threading.RLock()
        self._bell = threading.Lock()
        self._closed = False
        self._listening, self._wake = os.pipe()
        for fd in (self._listening, self._wake):
            os.set_blocking(fd, False)
        self._current: Zygote | None = None
        self._chores: deque[Chore] = deque()
        self._keeper = threading.Thread(target=self._keep, name="sandbox-keeper", daemon=True)

    def open(self) -> None:
        """Start the first zygote, and keep one ready from here on; raises `SandboxUnavailableError`."""
        self._living()
        self._keeper.start()

    def take(self) -> Child:
        """A child that has been asked nothing: one that waits already, or a new one. See `children.Children`."""
        words = ""
        for _ in range(ATTEMPTS):
            zygote = self._living()
            try:
                child = zygote.spare() or zygote.order()
            except ZygoteBrokenError as error:
                words = str(error)
                if not self._closed:
                    _log.warning("a sandbox's zygote is replaced: %s", words)
                zygote.close()
                continue
            child.reported = {"zygote_age_seconds": round(zygote.age_seconds, 3), "preloaded": not zygote.cold}
            self._call(b"taken")
            return child
        raise SandboxUnavailableError(f"The sandbox cannot be set up for this call: {words}")

    def close(self) -> None:
        """End every zygote with its children; a repeat does nothing."""
        with self._starting:
            if self._closed:
                return
            self._closed = True
            if self._current is not None:
                self._current.close()
        self._call(b"closed")
        if self._keeper.ident is not None:
            self._keeper.join()
        self._do_chores()
        with self._bell:
            os.close(self._listening)
            os.close(self._wake)
            self._listening = self._wake = -1

    def _living(self) -> Zygote:
        current = self._current
        if current is not None and not self._closed and current.lives() and not self._stale():
            return current
        with self._starting:
            if self._closed:
                raise SandboxUnavailableError("The sandbox is closed; open another one.")
            if self._current is None or self._current is current or not self._current.lives():
                self._replace()
            assert self._current is not None
            return self._current

    def _replace(self) -> None:
        """Put a new zygote in the place of the one there is, whose calls go on to their end."""
        fresh = self._start()
        fresh.changed = lambda: self._call(b"ended")
        fresh.later = self._later
        old, self._current = self._current, fresh
        if old is not None:
            old.retire() if old.lives() else old.close()

    def _later(self, chore: Chore) -> None:
        if self._closed:
            chore()
        else:
            self._chores.append(chore)

    def _call(self, word: bytes) -> None:
        # A full pipe has enough in it to wake anybody. Once closed, the number may be another file's.
        with self._bell, contextlib.suppress(BlockingIOError):
            if self._wake >= 0:
                os.write(self._wake, word[:1])

    def _keep(self) -> None:
        patience: float | None = 0
        while not self._closed:
            words = self._awaited(patience)
            if words == b"t":
                self._awaited(REFILL_SECONDS)
            try:
                self._do_chores()
                patience = self._put_right()
            except (SandboxUnavailableError, ZygoteBrokenError) as error:
                if not self._closed:
                    _log.warning("the sandbox cannot be kept ready: %s", error)
                patience = TRY_AGAIN_SECONDS

    def _do_chores(self) -> None:
        while self._chores:
            with contextlib.suppress(IndexError):
                self._chores.popleft()()

    def _awaited(self, patience: float | None) -> bytes:
        poll = select.poll()
        poll.register(self._listening, select.POLLIN)
        current = self._current
        if current is not None and patience is None:
            # Another thread may be closing it.
            with contextlib.suppress(ValueError):
                poll.register(current.news, select.POLLIN)
        poll.poll(None if patience is None else patience * 1000)
        with contextlib.suppress(BlockingIOError):
            return os.read(self._listening, 4096)
        return b""

    def _put_right(self) -> float | None:
        """One zygote that lives and is not worn out, with its spares; returns how long to sleep without news."""
        with self._starting:
            if self._closed:
                return 0
            current = self._current
            if current is None or not current.lives() or current.taken >= self._recycle_after:
                self._replace()
            current = self._current
        if current is not None and current.spares < self._wanted:
            try:
                current.add_spare()
            except ZygoteBrokenError:
                current.close()
                raise
            return 0 if current.spares < self._wanted else None
        return None
