"""Tells the readers of runs what happens between two saves: text as it streams, and inline calls that have ended.

One thread for all runs of a process, so that nobody who holds a run waits for its readers. It saves nothing: what was
told and never saved is void once the run goes on elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

from redis.exceptions import ResponseError

from agent_core.events import RunContent, RunEvent
from queues import keys
from queues.connections import insist, takes_no_writes
from queues.scripts import Reply, ScriptCall, Scripts
from queues.stored_events import stored_event

_log = logging.getLogger(__name__)

_LOST = -1
_IDLE_SECONDS = 10.0

Heard = tuple[RunEvent, list[str]]
"""An event, and for a piece of text all pieces that belong together with it."""


class Telling:
    """What the holder of one claim tells. Events keep their order, and text that comes close together becomes one."""

    def __init__(self, teller: Teller, run_id: str, epoch: str) -> None:
        self._teller = teller
        self._run_id = run_id
        self._epoch = epoch
        self._number = 0
        self._heard: list[Heard] = []
        # The teller's: held while something is on its way, when the next may go, and what came of it.
        self.sending = threading.Lock()
        self.due_at = float("-inf")
        self.is_lost = False
        self.error: Exception | None = None

    def add(self, event: RunEvent) -> bool:
        """Have the event told soon; returns at once. False if the run is another worker's by now: nothing is told.

        Raises what Redis answered, if it refused what was to be told before.
        """
        self._raise_refusal()
        if not self.is_lost:
            self._teller.expect(self, event)
        return not self.is_lost

    def take(self) -> list[RunEvent]:
        """What was not told yet, in order, for a save to tell before its own events; it is told nowhere else.

        Returns once what was on its way has arrived; raises as `add`.
        """
        with self.sending:
            heard = self._teller.withdraw(self)
        self._raise_refusal()
        return [_whole(each) for each in heard]

    def note(self, event: RunEvent) -> None:
        """Put an event behind the others; the teller guards this."""
        piece = event.content if isinstance(event, RunContent) else None
        if not isinstance(piece, str):
            self._heard.append((event, []))
        elif self._heard and self._heard[-1][1] and self._heard[-1][0].step == event.step:
            self._heard[-1][1].append(piece)
        else:
            self._heard.append((event, [piece]))

    def empty(self) -> list[Heard]:
        """Give away what was heard; the teller guards this."""
        heard, self._heard = self._heard, []
        return heard

    def call(self, heard: Sequence[Heard]) -> ScriptCall:
        """The script that tells this, under a number of its own, so that it may be repeated."""
        self._number += 1
        return ScriptCall(
            "append_events",
            [keys.run(self._run_id), keys.events(self._run_id)],
            [self._epoch, self._number, *(stored_event(_whole(each)) for each in heard)],
        )

    def _raise_refusal(self) -> None:
        if self.error is not None:
            raise self.error


class Teller:
    """Writes what all tellings of a process have heard: the first of it at once, then each once in an interval.

    Its thread starts with the first event and ends when nothing was told for a while. If Redis is away it goes on
    trying, as those who save do; what comes meanwhile is told together afterwards.
    """

    def __init__(
        self,
        scripts: Scripts,
        *,
        interval_seconds: float = 0.03,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scripts = scripts
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: dict[Telling, None] = {}
        self._thread: threading.Thread | None = None

    def telling(self, run_id: str, epoch: str) -> Telling:
        """What the holder of one claim tells."""
        return Telling(self, run_id, epoch)

    def expect(self, telling: Telling, event: RunEvent) -> None:
        """Take an event in, and see that the thread knows of it."""
        with self._changed:
            telling.note(event)
            if telling in self._waiting:
                return
            self._waiting[telling] = None
            if self._thread is not None:
                self._changed.notify()
                return
            thread = threading.Thread(target=self._work, name="teller", daemon=True)
            # On a machine that gives no more threads runs go on, and their saves tell.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def withdraw(self, telling: Telling) -> list[Heard]:
        """What the telling has heard; the thread tells nothing of it any more."""
        with self._changed:
            self._waiting.pop(telling, None)
            return telling.empty()

    def _work(self) -> None:
        while due := self._next_due():
            try:
                self._tell(due)
            except Exception:
                # This thread has to go on, whatever that was.
                _log.exception("readers could not be told")
            finally:
                for telling in due:
                    telling.sending.release()

    def _next_due(self) -> dict[Telling, list[Heard]]:
        """Wait for what is to be told now, and keep others from sending it; empty if nothing came for a while."""
        with self._changed:
            while True:
                now = self._clock()
                # One that is just being saved takes its text along.
                due = [t for t in self._waiting if t.due_at <= now and t.sending.acquire(blocking=False)]
                if due:
                    for telling in due:
                        del self._waiting[telling]
                    return {telling: telling.empty() for telling in due}
                if self._waiting:
                    soonest = min(telling.due_at for telling in self._waiting)
                    self._changed.wait(max(0.001, soonest - now))
                elif not self._changed.wait(_IDLE_SECONDS) and not self._waiting:
                    self._thread = None
                    return {}

    def _tell(self, due: dict[Telling, list[Heard]]) -> None:
        calls: dict[Telling, ScriptCall] = {}
        for telling, heard in due.items():
            try:
                calls[telling] = telling.call(heard)
            except Exception as error:
                # What cannot be written is its holder's trouble, and nobody else's.
                telling.error = error
        try:
            replies = insist(lambda: self._replies(list(calls.values())))
        except Exception as error:
            replies = [error] * len(calls)
        now = self._clock()
        for telling, reply in zip(calls, replies, strict=True):
            telling.due_at = now + self._interval_seconds
            telling.is_lost = telling.is_lost or reply == _LOST
            if isinstance(reply, Exception):
                telling.error = reply

    def _replies(self, calls: Sequence[ScriptCall]) -> list[Reply | Exception]:
        replies = self._scripts.words(calls)
        for reply in replies:
            # All are sent again then: those that were told know their number.
            if isinstance(reply, ResponseError) and takes_no_writes(reply):
                raise reply
        return replies


def _whole(heard: Heard) -> RunEvent:
    event, pieces = heard
    return event.model_copy(update={"content": "".join(pieces)}) if len(pieces) > 1 else event
