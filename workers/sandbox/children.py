"""One process that waits for its request: the ends of its pipes, its news, the handle by which it is killed.

It never reads what the process says; `process` does, and whoever made the process says how it is let go.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import socket
import termios
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import JsonValue

from workers.sandbox.cgroup_places import read
from workers.sandbox.cgroups import CallGroup
from workers.sandbox.confinement import READY

WORDS_BYTES = 4096
_PID = re.compile(rb"^Pid:\s*(-?\d+)", re.MULTILINE)


@dataclass(eq=False)
class Child:
    """The supervisor's ends. A process is `sealed` once it has said that its wall stands and it waits for its request.

    `kin` says who belongs to it besides those below it: nobody, its process group, or everything that its parent has.
    `over` is called once, when all is done or given up: with True if nobody knows what became of the process.
    `unread` is the far end of the request's pipe, which tells whether a word of it was read; `held` keeps the mounts: a
    process whose mounts go with it takes milliseconds longer to end.
    """

    request: int
    answer: int
    stdout: int
    stderr: int
    news: socket.socket
    handed: Mapping[str, int] = field(default_factory=dict)
    pid: int | None = None
    pidfd: int | None = None
    unread: int | None = None
    held: int | None = None
    group: CallGroup | None = None
    kin: str = ""
    sealed: bool = False
    spare: bool = False
    reported: Mapping[str, JsonValue] = field(default_factory=dict)
    over: Callable[[bool], None] = field(default=lambda _: None)

    def close(self, *, unknown: bool = False) -> None:
        """Let go of everything, which ends the process; a repeat does nothing."""
        over, self.over = self.over, lambda _: None
        ends = (self.request, self.answer, self.stdout, self.stderr, self.pidfd, self.unread, *self.handed.values())
        for fd in ends:
            if fd is not None and fd >= 0:
                os.close(fd)
        self.request = self.answer = self.stdout = self.stderr = -1
        self.pidfd, self.unread, self.handed = None, None, {}
        self.news.close()
        over(unknown)
        if self.held is not None:
            os.close(self.held)
            self.held = None

    def hold_mounts(self) -> None:
        """Keep its mounts until whoever takes `held` closes it; without the right to, it only ends more slowly."""
        with contextlib.suppress(OSError):
            self.held = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def kill(self) -> None:
        """End it now; where there is a handle by the handle, and in any case by whoever started it."""
        if self.pidfd is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.news.shutdown(socket.SHUT_WR)

    def has_read(self, sent_bytes: int) -> bool:
        """Whether it has read anything of the request, of which so much was sent; in doubt it has."""
        if self.unread is None:
            return True
        waiting = array("i", [0])
        fcntl.ioctl(self.unread, termios.FIONREAD, waiting)
        return waiting[0] != sent_bytes

    def hear(self) -> dict[str, Any]:
        """The next news, {} at their end."""
        try:
            message, fds, _, _ = socket.recv_fds(self.news, WORDS_BYTES, 1)
        except ConnectionResetError:
            return {}
        if fds:
            self.pidfd = fds[0]
            self.pid = _pid_behind(self.pidfd)
        news: dict[str, Any] = json.loads(message) if message else {}
        return news

    def await_sealed(self, patience_seconds: float, *, started: Callable[[], object]) -> str:
        """Wait until it is sealed and return no words; or the words of why it will never be, not having read a byte.

        `started` is called as soon as there is a process, and may raise OSError.
        """
        until = time.monotonic() + patience_seconds
        poll = select.poll()
        poll.register(self.news, select.POLLIN)
        poll.register(self.answer, select.POLLIN)
        while not self.sealed or self.pidfd is None:
            left = until - time.monotonic()
            ready = {fd for fd, _ in poll.poll(max(0, left) * 1000)}
            if not ready:
                return "it does not get ready in time"
            if self.news.fileno() in ready:
                news = self.hear()
                if "started" not in news:
                    return str(news.get("error") or self.last_words())
                started()
            if self.answer in ready:
                if os.read(self.answer, 1) != READY:
                    return self.last_words()
                self.sealed = True
                poll.unregister(self.answer)
        return ""

    def lives(self) -> bool:
        """Whether a sealed process that nobody has asked anything still waits."""
        poll = select.poll()
        for source in (self.news.fileno(), self.pidfd):
            if source is not None:
                poll.register(source, select.POLLIN)
        return not poll.poll(0)

    def last_words(self, otherwise: str = "it ended without a word") -> str:
        """What it said last on stderr, if it said anything."""
        os.set_blocking(self.stderr, False)
        with contextlib.suppress(OSError):
            words = os.read(self.stderr, WORDS_BYTES).decode("utf-8", "replace").strip()
            if words:
                return words.splitlines()[-1]
        return otherwise


def first_living(waiting: deque[Child]) -> Child | None:
    """The first spare of those waiting that still lives; the dead ones before it are let go of."""
    while True:
        try:
            child = waiting.popleft()
        except IndexError:
            return None
        if child.lives():
            child.spare = True
            return child
        child.close()


def _pid_behind(pidfd: int) -> int | None:
    found = _PID.search(read(f"/proc/self/fdinfo/{pidfd}"))
    pid = int(found[1]) if found is not None else -1
    return pid if pid > 0 else None


class Children(Protocol):
    """Where processes come from that wait for a request; safe to use from several threads at once."""

    def take(self) -> Child:
        """A process that has been asked nothing yet; raises `SandboxUnavailableError` if there is none to be had."""
        ...

    def close(self) -> None:
        """End all of them; a repeat does nothing."""
        ...


@dataclass(frozen=True)
class Ends:
    """The far ends of a new process's pipes, in the order request, stdout, stderr, answer."""

    request: int
    stdout: int
    stderr: int
    answer: int
    report: socket.socket
    handed: tuple[int, ...]
    child: Child

    def close(self) -> None:
        """Close the far ends, once they were handed on."""
        for fd in (self.request, self.stdout, self.stderr, self.answer, *self.handed):
            os.close(fd)
        self.report.close()


def new_ends(handed: Sequence[str] = (), *, kind: socket.SocketKind = socket.SOCK_SEQPACKET) -> Ends:
    """Four pipes, a socket for news of that kind, and what is handed besides, both sides; nothing is started yet.

    What is named `…_in` is a pipe that the process reads, `…_out` one that it writes, anything else a pair of sockets.
    """
    request, ours_request = os.pipe()
    ours_out, out = os.pipe()
    ours_err, err = os.pipe()
    ours_answer, answer = os.pipe()
    news, report = socket.socketpair(socket.AF_UNIX, kind)
    ours: dict[str, int] = {}
    theirs: list[int] = []
    for name in handed:
        ours[name], far = _pair(name)
        theirs.append(far)
    child = Child(request=ours_request, answer=ours_answer, stdout=ours_out, stderr=ours_err, news=news, handed=ours)
    child.unread = os.dup(request)
    return Ends(
        request=request, stdout=out, stderr=err, answer=answer, report=report, handed=tuple(theirs), child=child
    )


def _pair(name: str) -> tuple[int, int]:
    if name.endswith("_in"):
        theirs, ours = os.pipe()
        return ours, theirs
    if name.endswith("_out"):
        return os.pipe()
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return near.detach(), far.detach()


def order_of(ends: Ends) -> list[int]:
    """The descriptors as a zygote expects them."""
    return [ends.report.fileno(), ends.request, ends.stdout, ends.stderr, ends.answer, *ends.handed]
