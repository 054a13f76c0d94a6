"""Inside the outer wall: a process with the pool's tools loaded that forks one sealed child for each call.

It never runs a tool, never sees a call's arguments or a secret, and never starts a thread. It knows its supervisor by
the control socket alone, and its end is the end of every child.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource  # noqa: F401 - os.wait4 would import it late
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from workers.sandbox import aftermath, confinement, kernel, runner
from workers.sandbox.confinement import ANSWER_FD, FIRST_HANDED_FD, REQUEST_FD, Plan
from workers.sandbox.preloading import preload
from workers.sandbox.runner import Loaded

CONTROL_FD = 3
MESSAGE_BYTES = 200_000
FIRST_FREE_FD = 32
# The status of a child whose wall could not be put up; it has not read its request, and its words are on stderr.
SETUP_FAILED = 78


@dataclass(eq=False)
class _Child:
    pid: int
    pidfd: int
    report: socket.socket
    full: bool = False


class Zygote:
    """Forks a child for each order, kills it when the orderer hangs up, reports its end with its usage."""

    def __init__(self, control: socket.socket, plan: Plan, loaded: Loaded | None) -> None:
        self._control = control
        self._plan = plan
        self._loaded = loaded
        self._wall = confinement.prepared(plan)
        self._fresh = (kernel.to_unshare(kernel.CLONE_NEWPID),)
        self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if plan.pid_namespace else -1
        self._poll = select.poll()
        self._children: dict[int, _Child] = {}
        self._aftermath = _aftermath_of(plan)

    def be_silent(self) -> None:
        """From here on nobody reads what this process says; a full pipe would make it wait for ever."""
        os.dup2(self._nothing, 2)

    def serve(self) -> None:
        """Work until the supervisor is gone."""
        self._poll.register(self._control, select.POLLIN)
        while True:
            # Ends before orders: somebody waits for an end, and an order may be for a spare.
            for fd, _ in sorted(
                self._poll.poll(self._patience_ms()), key=lambda ready: ready[0] == self._control.fileno()
            ):
                if fd == self._control.fileno():
                    if not self._take_order():
                        return
                elif fd in self._children:
                    self._attend(self._children[fd], fd)
            if self._plan.scratch:
                self._stop_the_overfull()

    def _patience_ms(self) -> int | None:
        return int(aftermath.LOOK_SECONDS * 1000) if self._plan.scratch and self._children else None

    def _stop_the_overfull(self) -> None:
        for child in set(self._children.values()):
            if not child.full and self._is_overfull(child) and self._aftermath is not None:
                child.full = True
                self._aftermath.end(child.pid)

    def _is_overfull(self, child: _Child) -> bool:
        limits = self._plan.limits
        return self._aftermath is not None and self._aftermath.overfull(
            child.pid, megabytes=limits["disk_mb"], inodes=limits["inodes"]
        )

    def _take_order(self) -> bool:
        message, fds, _, _ = socket.recv_fds(self._control, 64, 16)
        if not message:
            return False
        report = socket.socket(fileno=fds[0])
        try:
            self._fork(report, fds[1:])
        except OSError as error:
            _say(report, {"error": str(error)})
            report.close()
        finally:
            for fd in fds[1:]:
                os.close(fd)
        return True

    def _fork(self, report: socket.socket, fds: Sequence[int]) -> None:
        if self._plan.pid_namespace:
            kernel.perform(self._fresh)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(fds)
        finally:
            if self._plan.pid_namespace:
                # Only from its own namespace may a process ask for another one for its next child.
                kernel.setns(self._own, kernel.CLONE_NEWPID)
        child = _Child(pid, os.pidfd_open(pid), report)
        for fd in (child.pidfd, report.fileno()):
            self._children[fd] = child
            self._poll.register(fd, select.POLLIN)
        with contextlib.suppress(OSError):
            socket.send_fds(report, [b'{"started": true}'], [child.pidfd])

    def _become(self, fds: Sequence[int]) -> NoReturn:
        """Turn the forked process into one call; every way out of here ends the process."""
        status = SETUP_FAILED
        try:
            request, stdout, stderr, answer, *handed = fds
            os.dup2(stderr, 2)
            os.dup2(stdout, 1)
            os.dup2(self._nothing, 0)
            for place, fd in enumerate(handed, FIRST_HANDED_FD):
                os.dup2(fd, place, inheritable=False)
            os.dup2(answer, ANSWER_FD, inheritable=False)
            os.dup2(request, REQUEST_FD, inheritable=False)
            kernel.perform(self._wall)
            if self._plan.init:
                _become_second()
            gc.enable()
            status = runner.serve(self._loaded)
        except BaseException:
            with contextlib.suppress(OSError):
                os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        finally:
            os._exit(status)

    def _attend(self, child: _Child, fd: int) -> None:
        if fd != child.pidfd:
            self._poll.unregister(fd)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            return
        if self._aftermath is not None:
            self._aftermath.end(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        clean = self._aftermath is None or self._aftermath.clean(child.pid)
        _say(
            child.report,
            {
                "exit_code": os.waitstatus_to_exitcode(status),
                "cpu_user": usage.ru_utime,
                "cpu_system": usage.ru_stime,
                "peak_kb": usage.ru_maxrss,
                # It may have been quick; and what it has beyond the limit it must not have had.
                "full": child.full or self._is_overfull(child),
            },
        )
        for ended in (child.pidfd, child.report.fileno()):
            with contextlib.suppress(KeyError):
                self._poll.unregister(ended)
            self._children.pop(ended, None)
        os.close(child.pidfd)
        child.report.close()
        if not clean and not self._plan.scratch:
            # Something of this call is left; with this process goes whatever it can still reach.
            self.leave()
        if self._aftermath is not None:
            self._aftermath.tidy(child.pid)

    def leave(self) -> NoReturn:
        """End at once, and with it every call; nothing stays in the scratch."""
        if self._plan.scratch and self._aftermath is not None:
            for child in set(self._children.values()):
                self._aftermath.end(child.pid)
                self._aftermath.clean(child.pid)
                self._aftermath.tidy(child.pid)
            aftermath.remove(self._plan.scratch, until=time.monotonic() + aftermath.SWEEP_SECONDS)
        os._exit(0)


def _aftermath_of(plan: Plan) -> aftermath.Aftermath | None:
    if not plan.aftermath:
        return None
    places: tuple[str, ...] = () if plan.scratch else (confinement.SCRATCH, confinement.SHARED_MEMORY)
    places += (confinement.WORKSPACE,) if places and plan.limits["workspace_mb"] else ()
    return aftermath.Aftermath(plan.aftermath, scratch=plan.scratch, places=places, kept=plan.carried)


def _become_second() -> None:
    """Go on in a process that is not the first of its namespace, for tools that send themselves signals.

    The first stays behind, buries whatever ends, and ends as the second one does, in a shell's words.
    """
    second = os.fork()
    if second == 0:
        return
    os.closerange(1, FIRST_FREE_FD)
    while True:
        pid, status = os.wait()
        if pid == second:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _say(report: socket.socket, words: dict[str, object]) -> None:
    with contextlib.suppress(OSError):
        report.send(json.dumps(words).encode())


def main() -> None:
    """Take the start message, load the tools if it says so, greet, then serve."""
    control = socket.socket(fileno=_moved_up(CONTROL_FD))
    start: dict[str, Any] = json.loads(control.recv(MESSAGE_BYTES))
    plan = _prepared(Plan.from_json(start["plan"]))
    gc.disable()
    os.environ.update(start["environment"])
    sys.path.insert(0, start["project_dir"])
    loaded: Loaded | None = None
    cold = start["cold"]
    if not cold:
        try:
            loaded = preload(start["tools"], shared_scratch=bool(plan.scratch))
        except (Exception, SystemExit) as error:
            cold = str(error) or type(error).__name__
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    zygote = Zygote(control, plan, loaded)
    gc.collect()
    gc.freeze()
    zygote.be_silent()
    control.send(json.dumps({"ready": True, "cold": cold}).encode())
    zygote.serve()
    zygote.leave()


def _prepared(plan: Plan) -> Plan:
    """Close this process to others of its user, and, where no namespace does so, keep together what comes of it."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if plan.aftermath:
        # A call may share the namespace of this process, and must not interrupt it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not plan.scratch:
        return plan
    aftermath.adopt_orphans()
    os.chdir(plan.project_dir)
    return replace(plan, scratch=aftermath.open_scratch(plan.scratch))


def _moved_up(fd: int) -> int:
    """The descriptor at a number that no child's stream will take; whatever is opened later lies above it."""
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    while (taken := os.dup(nothing)) < FIRST_FREE_FD:
        pass
    os.dup2(fd, taken, inheritable=False)
    os.dup2(nothing, fd)
    return taken
