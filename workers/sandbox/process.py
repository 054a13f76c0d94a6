"""One sandboxed process from its start to its end: feed it, read it, watch its limits, kill it, measure it.

It never interprets what the process answered and never trusts it: every stream is bounded while it is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from workers.sandbox.base import Limits
from workers.sandbox.launching import Launcher
from workers.sandbox.output import Capture
from workers.sandbox.watching import Usage

LOOK_SECONDS = 0.03
DEATH_SECONDS = 5
DRAIN_SECONDS = 1
CHUNK_BYTES = 1 << 16
STREAM_BYTES = 16 * 1024


class Stop(Enum):
    """Why the supervisor put an end to a process."""

    WALL = auto()
    CPU = auto()
    MEMORY = auto()
    PROCESSES = auto()
    CANCELLED = auto()


@dataclass(frozen=True)
class Order:
    """What is to be started, and what may be used by it."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    request: bytes
    limits: Limits
    wall_seconds: float
    answer_bytes: int
    walled: bool
    filters: bytes = b""


@dataclass
class Ended:
    """How a process ended; `exit_code` is None if nobody can tell, which means that its launcher died."""

    answer: bytes = b""
    answer_overflow: bool = False
    stdout: Capture = field(default_factory=lambda: Capture(STREAM_BYTES))
    stderr: Capture = field(default_factory=lambda: Capture(STREAM_BYTES))
    stop: Stop | None = None
    exit_code: int | None = None
    wall_seconds: float = 0
    usage: Usage = field(default_factory=Usage)
    stdout_text: str = ""
    stderr_text: str = ""


def execute(launcher: Launcher, order: Order, *, cancelled: threading.Event) -> Ended:
    """Start the process and stay with it; afterwards it is gone and every descriptor of it is closed."""
    with contextlib.ExitStack() as stack:
        return _Attendance(launcher, order, cancelled, stack).until_the_end()


class _Attendance:
    def __init__(
        self, launcher: Launcher, order: Order, cancelled: threading.Event, stack: contextlib.ExitStack
    ) -> None:
        self._order = order
        self._cancelled = cancelled
        self._ended = Ended()
        self._answer = bytearray()
        self._unsent = memoryview(order.request)
        self._pid: int | None = None
        self._over = False
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._open: dict[int, Callable[[bytes], None]] = {}
        self._descriptors: set[int] = set()
        self._stack = stack
        self._started_at = time.monotonic()
        self._news = self._start(launcher)

    def _start(self, launcher: Launcher) -> socket.socket:
        out, theirs_out = self._pipe()
        err, theirs_err = self._pipe()
        theirs_request, self._request = self._pipe()
        answer, theirs_answer = self._pipe()
        theirs = [theirs_out, theirs_err, theirs_request, theirs_answer]
        if self._order.filters:
            theirs_filters, filters = self._pipe()
            os.write(filters, self._order.filters)
            self._close(filters)
            theirs.append(theirs_filters)
        order = self._order
        news = launcher.order(order.argv, environment=order.environment, fds=theirs, walled=order.walled)
        self._stack.enter_context(news)
        for fd in theirs:
            self._close(fd)
        for fd, take in ((out, self._ended.stdout.feed), (err, self._ended.stderr.feed), (answer, self._take_answer)):
            os.set_blocking(fd, False)
            self._open[fd] = take
            self._selector.register(fd, selectors.EVENT_READ)
        os.set_blocking(self._request, False)
        self._selector.register(self._request, selectors.EVENT_WRITE)
        self._selector.register(news, selectors.EVENT_READ)
        return news

    def _pipe(self) -> tuple[int, int]:
        pair = os.pipe()
        for fd in pair:
            self._stack.callback(self._close, fd)
        self._descriptors.update(pair)
        return pair

    def _close(self, fd: int) -> None:
        # Once only: by now the number may belong to another thread's file.
        if fd in self._descriptors:
            self._descriptors.discard(fd)
            os.close(fd)

    def until_the_end(self) -> Ended:
        look_at = self._started_at + LOOK_SECONDS
        give_up_at = float("inf")
        while not self._over and time.monotonic() < give_up_at:
            self._turn(LOOK_SECONDS)
            now = time.monotonic()
            if self._ended.stop is None:
                self._ended.stop = self._reason_to_stop(now, look=now >= look_at)
                if self._ended.stop is not None:
                    give_up_at = now + DEATH_SECONDS
                    with contextlib.suppress(OSError):
                        self._news.shutdown(socket.SHUT_WR)
            look_at = now + LOOK_SECONDS if now >= look_at else look_at
        self._ended.wall_seconds = time.monotonic() - self._started_at
        # Whoever outlives a call without a wall may hold its pipes for ever, so the rest is awaited with a bound.
        drained_at = time.monotonic() + DRAIN_SECONDS
        while self._open and time.monotonic() < drained_at:
            self._turn(LOOK_SECONDS)
        self._ended.answer = bytes(self._answer)
        return self._ended

    def _reason_to_stop(self, now: float, *, look: bool) -> Stop | None:
        limits, usage = self._order.limits, self._ended.usage
        if self._cancelled.is_set():
            return Stop.CANCELLED
        if now - self._started_at >= self._order.wall_seconds:
            return Stop.WALL
        if look and self._pid is not None:
            usage.look(self._pid, memory_limit_bytes=limits.memory_mb << 20)
            if usage.memory_bytes > limits.memory_mb << 20:
                return Stop.MEMORY
            if usage.cpu_seconds >= limits.cpu_seconds:
                return Stop.CPU
            # Behind a wall the kernel itself refuses to start more; without one its limit would count the whole user.
            if not self._order.walled and usage.tasks > limits.pids:
                return Stop.PROCESSES
        return None

    def _turn(self, patience_seconds: float) -> None:
        for key, _ in self._selector.select(patience_seconds):
            if key.fd in self._open:
                self._read(key.fd)
            elif key.fd == self._request and not self._over:
                self._write()
            elif key.fileobj is self._news:
                self._hear()

    def _read(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(fd, CHUNK_BYTES)
            if chunk:
                self._open[fd](chunk)
                return
            del self._open[fd]
            self._selector.unregister(fd)

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._request, self._unsent) :] if self._unsent else self._unsent
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._selector.unregister(self._request)
            self._close(self._request)
            self._request = -1

    def _take_answer(self, chunk: bytes) -> None:
        if len(self._answer) + len(chunk) > self._order.answer_bytes:
            self._ended.answer_overflow = True
        else:
            self._answer += chunk

    def _hear(self) -> None:
        try:
            message = self._news.recv(4096)
        except ConnectionResetError:
            message = b""
        news = json.loads(message) if message else {}
        if "pid" in news:
            self._pid = news["pid"]
            return
        self._over = True
        self._selector.unregister(self._news)
        if "error" in news:
            self._ended.stderr.feed(str(news["error"]).encode())
            self._ended.exit_code = 127
        elif "exit_code" in news:
            usage = self._ended.usage
            self._ended.exit_code = news["exit_code"]
            usage.cpu_seconds = max(usage.cpu_seconds, news["cpu_seconds"])
            usage.memory_bytes = max(usage.memory_bytes, news["peak_kb"] * 1024)
