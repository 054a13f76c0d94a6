"""The heartbeat: one thread per process that renews what the process holds; never decides what to do about a loss.

Who holds a run or a call is written in Redis with a time to which it is believed. The holder's word counts until
then, the sweep's from then on; if both speak, the epoch decides, since each claim raises it and each write names it.
So a holder that was frozen past its lease can do no harm: its next write is refused, and `stopped` is set here.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import redis

from agent_core.telemetry import emit
from queues.scripts import Reply, ScriptCall, Scripts
from queues.stand_in import StandIn

Standing = Literal["held", "cancelled", "lost", "handed back"]
GiveBack = Callable[[], object]

_log = logging.getLogger(__name__)


def one_claim_by(worker: str) -> str:
    """An owner's name for one claim: its repeat, after a lost answer, is told from another claim by the same worker."""
    return f"{worker}/{secrets.token_hex(4)}"


def worker_of(owner: str | None) -> str | None:
    """The worker in an owner's name."""
    return owner and owner.partition("/")[0]


def standing_of(reply: Reply | Exception) -> Standing:
    """What the script of a renewal answered; raises if it failed."""
    if isinstance(reply, Exception):
        raise reply
    return "held" if reply == "held" else "cancelled" if reply == "cancelled" else "lost"


class Lease:
    """What a holder watches: `stopped` is set once it should stop, `standing` says why.

    `handed back` means that this process is leaving. Then `give_back`, if there is one, has let go of what was held;
    without it the lease is renewed on, until its holder has stopped and written down what came of it.
    """

    def __init__(self, renewal: ScriptCall, give_back: GiveBack | None) -> None:
        self.renewal = renewal
        self.give_back = give_back
        self.stopped = threading.Event()
        self.standing: Standing = "held"
        self.is_done = False

    def done(self) -> None:
        """The holder's last word is written down; that nothing is held from then on is no loss."""
        self.is_done = True

    @property
    def is_lost(self) -> bool:
        """Whether it was lost before its holder was done."""
        return self.standing == "lost" and not self.is_done

    def note(self, standing: Standing) -> None:
        """Remember a changed standing and wake whoever waits for it."""
        if standing != "held" and self.standing != "handed back":
            self.standing = standing
            self.stopped.set()


class LeaseKeeper:
    """Renews all leases of a process from a thread of its own, all at one go, so that a slow server costs one wait.

    A thread can be starved: a tool that holds the interpreter's lock in one long call lets no other thread run. Where
    such code runs, a `stand_in` renews meanwhile, from a process of its own.
    """

    def __init__(self, connection: redis.Redis, *, heartbeat_seconds: float, stand_in: StandIn | None = None) -> None:
        self._scripts = Scripts(connection)
        self._pause_seconds = heartbeat_seconds
        self._stand_in = stand_in
        self._held: dict[Lease, int | None] = {}  # and by which number the stand-in knows it
        self._beats: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, renewal: ScriptCall, *, give_back: GiveBack | None = None) -> Iterator[Lease]:
        """Keep a lease for the length of a block; `give_back` lets go of what is held when the process has to leave."""
        lease = Lease(renewal, give_back)
        with self._lock:
            self._start()
            self._held[lease] = self._stand_in.hold(renewal) if self._stand_in is not None else None
        try:
            yield lease
        finally:
            with self._lock:
                told = self._held.pop(lease)
                if self._stand_in is not None and told is not None:
                    # Once the last word is written down, the store refuses to renew what it ended.
                    self._stand_in.let_go(told, at_once=not lease.is_done)
            # Only now: a heartbeat under way while the holder was done finds nothing held either.
            if lease.is_lost:
                emit("lease.lost", kind=renewal.name.removeprefix("renew_"))

    def at_each_beat(self, work: Callable[[], object]) -> None:
        """Have something told to Redis with each heartbeat from now on."""
        with self._lock:
            self._beats.append(work)
            self._start()

    def hand_back(self) -> None:
        """Tell every holder to stop, because this process leaves, and let go at once of what can be let go of."""
        with self._lock:
            held = list(self._held)
        for lease in held:
            if lease.give_back is not None:
                try:
                    lease.give_back()
                except redis.RedisError as error:
                    _log.warning("a lease could not be given back, and will run out: %s", type(error).__name__)
            lease.note("handed back")

    def close(self) -> None:
        """Stop renewing; what is still held runs out."""
        self._closing.set()
        if self._stand_in is not None:
            self._stand_in.close()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while not self._closing.wait(self._pause_seconds):
            try:
                self._renew()
                for work in self._beats:
                    work()
            except redis.RedisError as error:
                # Not a loss yet: the lease may outlive a short outage, and if not, the fence refuses the next write.
                _log.warning("leases could not be renewed: %s", type(error).__name__)
            except Exception:
                # This thread has to go on, whatever that was.
                _log.exception("leases could not be renewed")

    def _renew(self) -> None:
        with self._lock:
            held = list(self._held)
            if self._stand_in is not None:
                self._stand_in.live()
        replies = self._scripts.words([lease.renewal for lease in held]) if held else []
        for lease, reply in zip(held, replies, strict=True):
            try:
                lease.note(standing_of(reply))
            except Exception:
                _log.exception("a lease could not be renewed")
