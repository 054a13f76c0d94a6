"""The process that starts sandboxed processes: small, single-threaded, without privileges and without an environment.

A supervisor thread that forked a sandbox itself would take it along when the thread ends (the parent-death signal
belongs to threads), and a large process forks slowly. It never sees a call's arguments, and it dies with its
supervisor, which it knows by the end of the control socket. All its imports are light and done at the start: later its
user may not reach them any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource  # noqa: F401 - os.wait4 would import it late
import select
import signal
import socket
import time
from dataclasses import dataclass

from workers.sandbox import kernel
from workers.sandbox.staging import drop_privileges, stage
from workers.sandbox.watching import children_of, descendants

MESSAGE_BYTES = 200_000
FIRST_FREE_FD = 16
KILL_AGAIN_SECONDS = 0.2
# The one that watches a namespace tells when it is empty; it is given this time, for that is what is waited for.
WATCHER_SECONDS = 2


@dataclass
class _Child:
    pid: int
    pidfd: int
    supervisor: socket.socket
    walled: bool
    kill_again_at: float | None = None
    killed_at: float = float("inf")


class Launcher:
    """Starts what it is asked for, kills it when the asker hangs up, and reports each end with its usage."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._children: dict[int, _Child] = {}
        self._by_fd: dict[int, _Child] = {}

    def serve(self) -> None:
        """Work until the supervisor is gone; afterwards every child has been killed."""
        self._poll.register(self._control, select.POLLIN)
        try:
            while True:
                for fd, _ in self._poll.poll(self._patience_ms()):
                    if fd == self._control.fileno():
                        if not self._take_order():
                            return
                    elif fd in self._by_fd:
                        self._attend(self._by_fd[fd], fd)
                self._kill_again()
                self._reap_orphans()
        finally:
            for child in self._children.values():
                self._kill(child, outer=True)

    def _patience_ms(self) -> int | None:
        waiting = any(child.kill_again_at is not None for child in self._children.values())
        return int(KILL_AGAIN_SECONDS * 500) if waiting else None

    def _take_order(self) -> bool:
        message, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 8)
        if not message:
            return False
        for fd in fds:
            os.set_inheritable(fd, False)
        supervisor = socket.socket(fileno=fds[0])
        try:
            order = json.loads(message)
            self._start(order, supervisor, fds[1:])
        except OSError as error:
            self._say(supervisor, {"error": str(error)})
            supervisor.close()
        finally:
            for fd in fds[1:]:
                os.close(fd)
        return True

    def _start(self, order: dict[str, object], supervisor: socket.socket, fds: list[int]) -> None:
        argv = [str(word) for word in order["argv"]]  # type: ignore[attr-defined]
        environment: dict[str, str] = order["environment"]  # type: ignore[assignment]
        actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
        ]
        # Received descriptors lie above FIRST_FREE_FD, so no dup2 here overwrites one that is still needed.
        actions += [(os.POSIX_SPAWN_DUP2, fd, 1 + place) for place, fd in enumerate(fds)]
        pid = os.posix_spawn(
            argv[0],
            argv,
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM],
        )
        child = _Child(pid=pid, pidfd=os.pidfd_open(pid), supervisor=supervisor, walled=bool(order["walled"]))
        self._children[pid] = child
        for fd in (child.pidfd, supervisor.fileno()):
            self._by_fd[fd] = child
            self._poll.register(fd, select.POLLIN)
        self._say(supervisor, {"started": True, "pid": pid})

    def _attend(self, child: _Child, fd: int) -> None:
        if fd == child.pidfd:
            self._bury(child)
        else:
            self._poll.unregister(fd)
            self._kill(child, outer=not child.walled)

    def _kill(self, child: _Child, *, outer: bool) -> None:
        # The namespace's first process goes before the one that watches it: then the whole tree's usage is handed up.
        below = descendants(child.pid)
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if outer or not below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        now = time.monotonic()
        child.killed_at = min(child.killed_at, now)
        child.kill_again_at = now + KILL_AGAIN_SECONDS

    def _kill_again(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            if child.kill_again_at is not None and child.kill_again_at <= now:
                self._kill(child, outer=not child.walled or now - child.killed_at > WATCHER_SECONDS)

    def _bury(self, child: _Child) -> None:
        # Before it is reaped its number still names its group: what it left in there goes with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        _, status, usage = os.wait4(child.pid, 0)
        self._say(
            child.supervisor,
            {
                "exit_code": os.waitstatus_to_exitcode(status),
                "cpu_user": usage.ru_utime,
                "cpu_system": usage.ru_stime,
                "peak_kb": usage.ru_maxrss,
            },
        )
        for fd in (child.pidfd, child.supervisor.fileno()):
            self._by_fd.pop(fd, None)
            with contextlib.suppress(KeyError):
                self._poll.unregister(fd)
        os.close(child.pidfd)
        child.supervisor.close()
        del self._children[child.pid]
        if child.walled:
            self._kill_strays()

    def _kill_strays(self) -> None:
        """A zygote that has no namespace leaves its orphans here; while it lives they are its own."""
        for pid in children_of(os.getpid()):
            if pid not in self._children:
                for stray in (pid, *descendants(pid)):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(stray, signal.SIGKILL)

    def _reap_orphans(self) -> None:
        # As the subreaper this process inherits what a killed tree leaves; in a container nobody else would reap it.
        with contextlib.suppress(ChildProcessError):
            while True:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None or ended.si_pid in self._children:
                    return
                os.waitpid(ended.si_pid, 0)

    @staticmethod
    def _say(supervisor: socket.socket, words: dict[str, object]) -> None:
        with contextlib.suppress(OSError):
            supervisor.send(json.dumps(words).encode())


def _staged(paths: list[str], *, uid: int, gid: int) -> tuple[bool, str]:
    try:
        if paths:
            stage(paths, uid=uid, gid=gid)
    except OSError as error:
        # Root without CAP_SYS_ADMIN, as in a container: fine as long as all paths are open to everybody.
        return False, str(error)
    return bool(paths), ""


def main(control_fd: int) -> None:
    """Take the plan from the control socket, give up all privileges, then serve."""
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control.fileno(), False)
    plan = json.loads(control.recv(MESSAGE_BYTES))
    staged, words = _staged(plan["stage"], uid=plan["uid"], gid=plan["gid"])
    if plan["uid"] is not None:
        drop_privileges(plan["uid"], plan["gid"])
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C drains the supervisor; it decides what becomes of the calls
    os.umask(0o077)
    placeholder = os.open("/dev/null", os.O_RDONLY)
    while os.dup(placeholder) < FIRST_FREE_FD:
        pass
    control.send(json.dumps({"staged": staged, "words": words}).encode())
    Launcher(control).serve()
