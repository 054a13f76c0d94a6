"""The heartbeat: one thread per process that renews what the process holds; never decides what to do about a loss.

Who holds a run or a call is written in Redis with a time to which it is believed. The holder's word counts until
then, the sweep's from then on; if both speak, the epoch decides, since each claim raises it and each write names it.
So a holder that was frozen past its lease can do no harm: its next write is refused, and here its `lost` event is set.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import redis

Standing = Literal["held", "cancelled", "lost"]
Renew = Callable[[], Standing]

_log = logging.getLogger(__name__)


class Lease:
    """What a holder watches: set events say that it should stop, and why."""

    def __init__(self, renew: Renew) -> None:
        self.renew = renew
        self.stopped = threading.Event()  # set on either of the two below
        self.standing: Standing = "held"

    def note(self, standing: Standing) -> None:
        """Remember a changed standing and wake whoever waits for it."""
        if standing != "held":
            self.standing = standing
            self.stopped.set()


class LeaseKeeper:
    """Renews all leases of a process from a thread of its own, which no user code can starve of its turn for long."""

    def __init__(self, *, heartbeat_seconds: float) -> None:
        self._pause_seconds = heartbeat_seconds
        self._held: set[Lease] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, renew: Renew) -> Iterator[Lease]:
        """Keep a lease for the length of a block."""
        lease = Lease(renew)
        with self._lock:
            self._held.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
                self._thread.start()
        try:
            yield lease
        finally:
            with self._lock:
                self._held.discard(lease)

    def close(self) -> None:
        """Stop renewing; what is still held runs out."""
        self._closing.set()

    def _beat(self) -> None:
        while not self._closing.wait(self._pause_seconds):
            with self._lock:
                held = list(self._held)
            for lease in held:
                self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        try:
            lease.note(lease.renew())
        except redis.RedisError as error:
            # Not a loss yet: the lease may outlive a short outage, and if not, the fence refuses the next write.
            _log.warning("a lease could not be renewed: %s", type(error).__name__)
        except Exception:
            # This thread renews all the others too.
            _log.exception("a lease could not be renewed")
