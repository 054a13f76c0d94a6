"""One event loop in a thread of its own, for async tools of sync runs.

Never started before the first async tool needs it. One loop for all of them, because clients that tools keep (HTTP,
databases) are bound to the loop in which they were made.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


class EventLoopThread:
    """A daemon thread that runs an event loop for the life of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Coroutine[object, object, Result]) -> "Future[Result]":
        """Start `work` and return its future. From the loop's own thread a fresh loop is used: waiting there for
        this one would wait for ever (an async tool that runs another agent)."""
        if threading.current_thread() is self._thread:
            return _run_apart(work)
        return asyncio.run_coroutine_threadsafe(work, self._started())

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="async-tools", daemon=True)
                self._thread.start()
            return self._loop


def _run_apart(work: Coroutine[object, object, Result]) -> "Future[Result]":
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(asyncio.run(work))
        except BaseException as error:  # handed over to the waiting thread, which raises it
            future.set_exception(error)

    threading.Thread(target=run, name="async-tools-nested", daemon=True).start()
    return future


async_tools = EventLoopThread()
