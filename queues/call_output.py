"""Live output of calls on its way to their readers; a server that is slow or away holds no call up.

Never the way of an answer: what was not told by the end of a call is handed to the script that settles it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable

import redis

from queues.calls import Calls, ClaimedCall, Output

_AGAIN_SECONDS = 1.0

_log = logging.getLogger(__name__)


class CallOutput:
    """What one call wrote and readers were not told yet. How much of it there may be, `tell`'s caller bounds."""

    def __init__(self, call: ClaimedCall, wake: Callable[[CallOutput], object]) -> None:
        self.call = call
        self._wake = wake
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._first = 1
        self._closed = False

    def tell(self, piece: str) -> None:
        """Have readers told, soon; returns at once."""
        with self._lock:
            self._pieces.append(piece)
            is_alone = len(self._pieces) == 1
        if is_alone:
            self._wake(self)

    def untold(self) -> Output:
        """What to tell now; nothing once the call is over."""
        with self._lock:
            return Output() if self._closed else Output(tuple(self._pieces), self._first)

    def forget(self, told: Output) -> None:
        """Readers know of it."""
        with self._lock:
            del self._pieces[: len(told.pieces)]
            self._first += len(told.pieces)
            has_more = bool(self._pieces)
        if has_more:
            self._wake(self)

    def close(self) -> Output:
        """What is left for whoever settles the call; some of it may be on its way, and counts by its number."""
        with self._lock:
            self._closed = True
            return Output(tuple(self._pieces), self._first)


class OutputTeller:
    """Tells the output of all calls of a tool worker from one thread, which is there from the first piece on."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._waiting: queue.SimpleQueue[CallOutput | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def output_of(self, call: ClaimedCall) -> CallOutput:
        """Where a call that has begun tells what it writes."""
        return CallOutput(call, self._wake)

    def close(self) -> None:
        """Tell nothing more; what is under way is not waited for."""
        self._closing.set()
        self._waiting.put(None)

    def _wake(self, output: CallOutput) -> None:
        self._waiting.put(output)
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._tell_all, name="live-output", daemon=True)
                # On a machine that gives no more threads calls go on, and their settling tells.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def _tell_all(self) -> None:
        while (output := self._waiting.get()) is not None:
            try:
                self._tell(output)
            except redis.RedisError as error:
                _log.info("live output waits: %s", type(error).__name__)
                self._closing.wait(_AGAIN_SECONDS)
                self._waiting.put(output)
            except Exception:
                # This thread has to go on, whatever that was; the call's settling tells the rest.
                _log.exception("live output of a call could not be told")

    def _tell(self, output: CallOutput) -> None:
        untold = output.untold()
        if not untold.pieces:
            return
        if self._calls.tell_output(output.call, untold):
            output.forget(untold)
        else:
            output.close()
