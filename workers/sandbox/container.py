"""A container for each call, for machines whose walls are made by an engine: the same seam, the same outcomes.

It never hands out a container that has been asked something before, and never leaves one behind: whatever happens to
the worker, a watchman outside removes what bears its mark.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.cgroup_places import is_left_over, mark_of
from workers.sandbox.cgroups import CallGroup, group_of
from workers.sandbox.children import Child, Ends, first_living, new_ends
from workers.sandbox.confinement import READY
from workers.sandbox.engines import Engine, client_environment
from workers.sandbox.watchman import Watchman

START_SECONDS = 60
END_SECONDS = 20
# A killed container is cleared away within this time, or its engine is asked to.
KILL_SECONDS = 2
KILLED = 128 + signal.SIGKILL
_NUMBERS = itertools.count()


@dataclass
class _Kept:
    """What is remembered of a running container by the thread that stays with it."""

    name: str
    client: subprocess.Popen[bytes]
    child: Child
    report: socket.socket
    pidfd: int | None = None
    stopped: bool = False


class ContainerGroup(CallGroup):
    """The group that the engine made; it is gone by the time of the last look, so the end is remembered."""

    def __init__(self, group: CallGroup) -> None:
        super().__init__(group.kind, group.folders)
        self.killed_by_the_kernel = False

    def ran_out_of_memory(self) -> bool:
        """As in any group; nobody inside can kill a container's first process, so a kill that is not ours says it."""
        return self.killed_by_the_kernel or super().ran_out_of_memory()


@dataclass
class Containers:
    """Hands out containers that wait for their request, `spares` of them started ahead; see `children.Children`."""

    engine: Engine
    command_line: Callable[[str], list[str]]
    spares: int
    _waiting: deque[Child] = field(default_factory=deque)
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _threads: set[threading.Thread] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False
    _watchman: Watchman | None = None

    def open(self) -> None:
        """Remove what dead workers left, set the watchman, and have the first container ready."""
        listed = self.engine.ask("ps", "--all", "--filter", "label=errandry.sandbox", "--format", "{{.Names}}")
        left = [name for name in listed.stdout.split() if is_left_over(name)]
        if left:
            self.engine.remove(*left)
        self._watchman = Watchman(self.engine)
        self._waiting.append(self._started())

    def take(self) -> Child:
        """A container that has been asked nothing; raises `SandboxUnavailableError` with the engine's words."""
        child = first_living(self._waiting) or self._started()
        self._in_background(self._refill)
        return child

    def close(self) -> None:
        """Remove every container and wait for that with a bound; a repeat does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            kept = list(self._kept.values())
            threads = list(self._threads)
        for one in kept:
            one.child.kill()
        until = time.monotonic() + END_SECONDS
        for thread in threads:
            thread.join(max(0, until - time.monotonic()))
        while self._waiting:
            self._waiting.popleft().close()
        if self._watchman is not None:
            self._watchman.close()

    def _refill(self) -> None:
        with contextlib.suppress(SandboxUnavailableError):
            while not self._closed and len(self._waiting) < self.spares:
                self._waiting.append(self._started())

    def _in_background(self, work: Callable[[], None]) -> None:
        def working() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=working, name="sandbox-container", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _started(self) -> Child:
        name = f"{mark_of(os.getpid())}-{next(_NUMBERS)}"
        ends = new_ends()
        try:
            kept = self._run(name, ends)
        except BaseException:
            ends.child.close()
            raise
        finally:
            ends.close()
        self._in_background(lambda: self._stay_with(kept))
        words = _sealed(kept.child)
        if words:
            kept.child.close()
            raise SandboxUnavailableError(
                f"{self.engine.name} did not start a container: {words}. Is the image there (it is never pulled), and "
                "does it hold the libraries that the worker's interpreter needs?"
            )
        self._measure(kept)
        return kept.child

    def _run(self, name: str, ends: Ends) -> _Kept:
        with self._lock:
            if self._closed:
                raise SandboxUnavailableError("The sandbox is closed; open another one.")
            client = subprocess.Popen(  # noqa: S603 - our own words
                self.command_line(name),
                env=client_environment(),
                cwd=self._watchman.folder if self._watchman is not None else None,
                stdin=ends.request,
                stdout=ends.answer,
                stderr=ends.stderr,
                start_new_session=True,
            )
            kept = _Kept(name, client, ends.child, ends.report.dup())
            self._kept[name] = kept
        return kept

    def _measure(self, kept: _Kept) -> None:
        """Find the container's first process and its control group, where they are this machine's."""
        answer = self.engine.ask("inspect", "--format", "{{.Id}} {{.State.Pid}}", kept.name).stdout.split()
        # There is no answer for one that is removed already.
        with contextlib.suppress(OSError, ValueError, IndexError):
            identity, pid = answer[0], int(answer[1])
            with open(f"/proc/{pid}/cgroup") as groups:  # noqa: PTH123 - a pseudo file
                if identity not in groups.read():
                    return
            kept.pidfd = os.pidfd_open(pid)
            kept.child.pid = pid
            group = group_of(pid)
            kept.child.group = ContainerGroup(group) if group is not None else None

    def _stay_with(self, kept: _Kept) -> None:
        """Wait for the end or for the order to end it; then tell what came of it."""
        client = os.pidfd_open(kept.client.pid)
        poll = select.poll()
        for fd in (client, kept.report.fileno()):
            poll.register(fd, select.POLLIN)
        try:
            while client not in {fd for fd, _ in poll.poll(KILL_SECONDS * 1000 if kept.stopped else None)}:
                self._end(kept)
                with contextlib.suppress(KeyError):
                    poll.unregister(kept.report)
            self._tell(kept, kept.client.wait())
        finally:
            os.close(client)
            if kept.pidfd is not None:
                os.close(kept.pidfd)
            kept.report.close()
            with self._lock:
                self._kept.pop(kept.name, None)

    def _end(self, kept: _Kept) -> None:
        again, kept.stopped = kept.stopped, True
        if kept.pidfd is not None and not again:
            # Faster than to ask the engine, which then only clears away.
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(kept.pidfd, signal.SIGKILL)
                return
        self.engine.remove(kept.name)

    def _tell(self, kept: _Kept, status: int) -> None:
        group = kept.child.group
        if status == KILLED and not kept.stopped and isinstance(group, ContainerGroup):
            group.killed_by_the_kernel = True
        news = {"exit_code": status, "cpu_user": 0.0, "cpu_system": 0.0, "peak_kb": 0}
        with contextlib.suppress(OSError):
            kept.report.send(json.dumps(news).encode())


def _sealed(child: Child) -> str:
    """Wait until the process inside says that it waits; or the words of why it never will."""
    poll = select.poll()
    for fd in (child.answer, child.news.fileno()):
        poll.register(fd, select.POLLIN)
    ready = {fd for fd, _ in poll.poll(START_SECONDS * 1000)}
    if child.answer in ready and os.read(child.answer, 1) == READY:
        child.sealed = True
        return ""
    if not ready:
        return f"it was not ready after {START_SECONDS} s"
    words = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(child.stderr, 4096):
            words = (words + chunk)[-4096:]
    lines = words.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"
