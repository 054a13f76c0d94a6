"""One sandboxed process from its request to its end: feed it, read it, watch its limits, kill it, measure it.

It never interprets what the process answered and never trusts it: every stream is bounded while it is read.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, BinaryIO

from workers.sandbox.base import Limits
from workers.sandbox.children import Child
from workers.sandbox.confinement import READY
from workers.sandbox.live import LiveOutput
from workers.sandbox.output import Capture
from workers.sandbox.watching import Usage

LOOK_SECONDS = 0.03
# An end that the kernel has told of is reported within this time, or whoever should report it hangs. On a starved
# machine a report may take more than a second.
REPORT_SECONDS = 5
DEATH_SECONDS = 5
DRAIN_SECONDS = 1
CHUNK_BYTES = 1 << 16
# Beyond what is kept a stream is read and dropped; beyond this it is a flood that only costs the supervisor time.
FLOOD_BYTES = 1 << 30


class Stop(Enum):
    """Why the supervisor put an end to a process."""

    WALL = auto()
    CPU = auto()
    MEMORY = auto()
    PROCESSES = auto()
    DISK = auto()
    ANSWER = auto()
    FLOOD = auto()
    CANCELLED = auto()


@dataclass(frozen=True)
class Order:
    """What is asked of a process, and what it may use for that; `counted`: the kernel itself limits its processes.

    `archive` follows the request; `receive` is given what comes behind the answer's line, as it comes; `live` what the
    process writes to stdout and stderr.
    """

    request: bytes
    limits: Limits
    wall_seconds: float
    answer_bytes: int
    counted: bool
    archive: BinaryIO | None = None
    receive: Callable[[bytes], None] | None = None
    live: LiveOutput | None = None


@dataclass
class Ended:
    """How a process ended; `exit_code` is None if nobody can tell, `begun` False if it never read its request."""

    answer: bytes = b""
    stdout: Capture = field(default_factory=lambda: Capture(0))
    stderr: Capture = field(default_factory=lambda: Capture(0))
    stop: Stop | None = None
    exit_code: int | None = None
    begun: bool = True
    wall_seconds: float = 0
    cpu_user_seconds: float = 0
    cpu_system_seconds: float = 0
    usage: Usage = field(default_factory=Usage)
    out_of_memory: bool = False
    processes_refused: bool = False
    stdout_text: str = ""
    stderr_text: str = ""


def execute(child: Child, order: Order, *, cancelled: threading.Event) -> Ended:
    """Hand the request over and stay with the process; afterwards it is gone, or its zygote is given up.

    The time of the call counts from here.
    """
    try:
        ended = _Attendance(child, order, cancelled).until_the_end()
    except BaseException:
        child.kill()
        child.close(unknown=True)
        raise
    child.close(unknown=ended.exit_code is None)
    return ended


class _Attendance:
    def __init__(self, child: Child, order: Order, cancelled: threading.Event) -> None:
        self._child = child
        self._order = order
        self._cancelled = cancelled
        self._poll = select.poll()
        kept = order.limits.stdout_kb * 1024
        self._ended = Ended(stdout=Capture(kept), stderr=Capture(kept))
        self._answer = bytearray()
        self._unsent = memoryview(order.request)
        self._archive = order.archive
        self._written = 0
        self._receiving = False
        self._over = False
        self._report_due = float("inf")
        self._started_at = self._look_at = time.monotonic()
        kept_of, live = (self._ended.stdout.feed, self._ended.stderr.feed), order.live
        stdout, stderr = (live.beside(keep) if live is not None else keep for keep in kept_of)
        self._open: dict[int, Callable[[bytes], None]] = {
            child.stdout: stdout,
            child.stderr: stderr,
            child.answer: self._take_answer,
        }
        for fd in self._open:
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
        os.set_blocking(child.request, False)
        self._poll.register(child.request, select.POLLOUT)
        self._news = child.news.fileno()
        self._poll.register(self._news, select.POLLIN)
        if child.pidfd is not None:
            self._poll.register(child.pidfd, select.POLLIN)

    def until_the_end(self) -> Ended:
        self._write()
        while not self._over and time.monotonic() < self._report_due:
            self._turn(min(LOOK_SECONDS, self._wall_left()))
            if self._ended.stop is None and not self._over:
                self._ended.stop = self._reason_to_stop(time.monotonic())
                if self._ended.stop is not None:
                    self._child.kill()
                    self._expect_report(DEATH_SECONDS)
        self._ended.wall_seconds = time.monotonic() - self._started_at
        # Whoever outlives a call without a wall may hold its pipes for ever, so the rest is awaited with a bound.
        drained_at = time.monotonic() + DRAIN_SECONDS
        while self._open and time.monotonic() < drained_at:
            self._turn(LOOK_SECONDS)
        if self._ended.stop is None and len(self._answer) > self._order.answer_bytes:
            self._ended.stop = Stop.ANSWER
        self._ended.answer = bytes(self._answer)
        self._read_group()
        if self._ended.exit_code is None and self._ended.stop is None:
            self._ended.begun = self._child.has_read(self._written)
        return self._ended

    def _wall_left(self) -> float:
        left = self._started_at + self._order.wall_seconds - time.monotonic()
        return max(0, left) if self._ended.stop is None else LOOK_SECONDS

    def _expect_report(self, seconds: float) -> None:
        self._report_due = min(self._report_due, time.monotonic() + seconds)

    def _reason_to_stop(self, now: float) -> Stop | None:
        limits = self._order.limits
        if self._cancelled.is_set():
            return Stop.CANCELLED
        if now - self._started_at >= self._order.wall_seconds:
            return Stop.WALL
        if len(self._answer) > self._order.answer_bytes:
            return Stop.ANSWER
        if max(self._ended.stdout.total_bytes, self._ended.stderr.total_bytes) > FLOOD_BYTES:
            return Stop.FLOOD
        if now - self._look_at < LOOK_SECONDS or self._child.pid is None:
            return None
        self._look_at = now
        return self._look(self._child.pid, limits)

    def _look(self, pid: int, limits: Limits) -> Stop | None:
        usage, group = self._ended.usage, self._child.group
        if group is None or group.cpu_seconds() is None or not self._order.counted:
            # Where the kernel itself counts all of it, there is no need to go through the whole tree.
            usage.look(pid, memory_limit_bytes=limits.memory_mb << 20, kin=self._child.kin)
        if group is not None:
            self._read_group()
            if group.ran_out_of_memory():
                self._ended.out_of_memory = True
                return Stop.MEMORY
        elif usage.memory_bytes > limits.memory_mb << 20:
            return Stop.MEMORY
        if usage.cpu_seconds >= limits.cpu_seconds:
            return Stop.CPU
        # Behind a wall the kernel itself refuses to start more; without one its limit would count the whole user.
        if not self._order.counted and usage.tasks > limits.pids:
            return Stop.PROCESSES
        return None

    def _read_group(self) -> None:
        group, usage = self._child.group, self._ended.usage
        if group is None:
            return
        usage.memory_bytes = group.memory_peak_bytes()
        usage.cpu_seconds = max(usage.cpu_seconds, group.cpu_seconds() or 0)
        self._ended.out_of_memory = self._ended.out_of_memory or group.ran_out_of_memory()
        self._ended.processes_refused = group.pids_refused()

    def _turn(self, patience_seconds: float) -> None:
        for fd, _ in self._poll.poll(math.ceil(patience_seconds * 1000)):
            if fd in self._open:
                self._read(fd)
            elif fd == self._child.request:
                self._write()
            elif fd == self._news:
                self._hear()
            elif fd == self._child.pidfd:
                self._poll.unregister(fd)
                self._expect_report(REPORT_SECONDS)
        if self._order.live is not None:
            self._order.live.look()

    def _read(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(fd, CHUNK_BYTES)
            if chunk:
                self._open[fd](chunk)
                return
            del self._open[fd]
            self._poll.unregister(fd)

    def _write(self) -> None:
        try:
            written = os.write(self._child.request, self._unsent)
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent, self._archive = memoryview(b""), None
        else:
            self._written += written
            self._unsent = self._unsent[written:]
        if not self._unsent and self._archive is not None:
            self._unsent = memoryview(self._archive.read(CHUNK_BYTES))
        if not self._unsent:
            self._poll.unregister(self._child.request)
            os.close(self._child.request)
            self._child.request = -1

    def _take_answer(self, chunk: bytes) -> None:
        if not self._child.sealed:
            self._child.sealed = chunk[:1] == READY
            chunk = chunk[1:] if self._child.sealed else chunk
        if self._order.receive is not None:
            if not self._receiving:
                chunk, end_of_line, archive = chunk.partition(b"\n")
                self._receiving = bool(end_of_line)
            else:
                chunk, archive = b"", chunk
            self._order.receive(archive)
        # One chunk beyond the bound is enough to know; the process is stopped for it.
        if len(self._answer) <= self._order.answer_bytes:
            self._answer += chunk

    def _hear(self) -> None:
        news = self._child.hear()
        if "started" in news:
            self._child.pid = news.get("pid", self._child.pid)
            return
        self._over = True
        self._poll.unregister(self._news)
        if "error" in news:
            self._ended.stderr.feed(str(news["error"]).encode())
            self._ended.exit_code = 127
        elif "exit_code" in news:
            self._take_report(news)

    def _take_report(self, news: dict[str, Any]) -> None:
        ended, usage = self._ended, self._ended.usage
        ended.exit_code = news["exit_code"]
        if news.get("full") and ended.stop is None:
            ended.stop = Stop.DISK
        ended.cpu_user_seconds, ended.cpu_system_seconds = news["cpu_user"], news["cpu_system"]
        usage.cpu_seconds = max(usage.cpu_seconds, ended.cpu_user_seconds + ended.cpu_system_seconds)
        if self._child.group is None:
            usage.memory_bytes = max(usage.memory_bytes, news["peak_kb"] * 1024)
