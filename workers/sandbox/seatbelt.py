"""The wall on macOS, for development: a new process for each call behind `sandbox-exec`, told by a profile what it may.

It never replaces a real wall: memory and processes are not limited by it, and nothing hides other processes. It has
been written from the profile language's rules and has not been run on macOS.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence

from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.children import Child, new_ends
from workers.sandbox.visible import View

PROGRAM = "/usr/bin/sandbox-exec"
GAPS = (
    "other processes of this machine are not hidden",
    "memory, processes and disk space are not limited",
    "the wall is sandbox-exec's, which macOS calls deprecated",
)
_LOOK_SECONDS = 0.01
_TRIAL_SECONDS = 20
_FIRST_FREE_FD = 16
# What the dynamic loader and the C library of every program read there.
_SYSTEM = (
    "/System",
    "/usr/lib",
    "/usr/bin",
    "/usr/share",
    "/bin",
    "/sbin",
    "/Library/Frameworks",
    "/Library/Developer/CommandLineTools",
    "/private/var/db/dyld",
    "/private/etc",
    "/opt/homebrew",
    "/usr/local",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/dtracehelper")


def profile(view: View, *, scratch: str, network: bool) -> str:
    """What a call may do, in the profile language; later rules win, so what is hidden stands behind what is shown."""
    folders, files = view.masked()
    trees = [str(bind.source) for bind in (*view.trees, *view.uncovered)]
    written = [str(bind.source) for bind in view.trees if bind.writable]
    lines = [
        "(version 1)",
        "(deny default)",
        "(allow process-fork process-exec)",
        "(allow signal (target same-sandbox))",
        "(allow sysctl-read)",
        "(allow file-read-metadata)",
        _rule("allow", "file-read*", subpaths=[*_SYSTEM, *trees], literals=["/", *_DEVICES]),
        _rule("deny", "file-read*", subpaths=[str(path) for path in folders], literals=[str(path) for path in files]),
        # Once more what lies in a folder that is hidden in another tree.
        _rule("allow", "file-read*", subpaths=[str(bind.source) for bind in view.uncovered]),
        _rule("allow", "file-read* file-write*", subpaths=[scratch, *written]),
        _rule("allow", "file-write*", literals=["/dev/null"]),
        "(allow network* system-socket mach-lookup)" if network else "",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _rule(verb: str, operations: str, *, subpaths: Sequence[str] = (), literals: Sequence[str] = ()) -> str:
    places = [f"(subpath {_quoted(path)})" for path in subpaths] + [f"(literal {_quoted(path)})" for path in literals]
    return f"({verb} {operations}\n  " + "\n  ".join(places) + ")" if places else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def try_out(view: View, *, program: str = PROGRAM) -> None:
    """See that the wall can be had, shows the project and hides another file; raises `SandboxUnavailableError`."""
    with tempfile.TemporaryDirectory() as scratch, tempfile.NamedTemporaryFile(prefix="errandry-canary-") as canary:
        rules = profile(view, scratch=os.path.realpath(scratch), network=False)
        for command, holds in ((["/bin/ls", str(view.project_dir)], True), (["/bin/cat", canary.name], False)):
            try:
                done = subprocess.run(  # noqa: S603 - our own words
                    [program, "-p", rules, *command],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=_TRIAL_SECONDS,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise SandboxUnavailableError(
                    f"Level seatbelt cannot be had: {error}. It is for macOS only."
                ) from error
            if (done.returncode == 0) is not holds:
                words = " ".join(done.stderr.split()) or f"{command[0]} ended with status {done.returncode}"
                raise SandboxUnavailableError(f"Level seatbelt was tried out and does not hold: {words}.")


class SeatbeltProcesses:
    """A new process for each call, started by the worker itself; it imports the pool's tools."""

    def __init__(
        self, argv: Sequence[str], view: View, *, environment: Mapping[str, str], network: bool, program: str = PROGRAM
    ) -> None:
        self._argv = argv
        self._view = view
        self._environment = environment
        self._network = network
        self._program = program

    def take(self) -> Child:
        """A process that is being started behind its profile, with a scratch of its own that goes with it."""
        scratch = os.path.realpath(tempfile.mkdtemp(prefix="errandry-scratch-"))
        words = [self._program, "-p", profile(self._view, scratch=scratch, network=self._network), *self._argv]
        environment = {**self._environment, "HOME": scratch, "TMPDIR": scratch}
        # A stream: this system has no sockets of sequenced packets, and the end is the only news.
        ends = new_ends(kind=socket.SOCK_STREAM)
        child = ends.child
        try:
            child.pid = _spawned(words, environment, [ends.stdout, ends.stderr, ends.request, ends.answer])
            report = ends.report.dup()
        except BaseException:
            child.close()
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        finally:
            ends.close()
        child.over = lambda _: shutil.rmtree(scratch, ignore_errors=True)
        threading.Thread(target=_attend, args=(child.pid, report), name="seatbelt", daemon=True).start()
        return child

    def close(self) -> None:
        """Nothing is kept."""


def _spawned(words: Sequence[str], environment: Mapping[str, str], fds: Sequence[int]) -> int:
    # Moved up first, so that no descriptor is overwritten before it was handed over.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD) for fd in fds]
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
    ]
    actions += [(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate(moved, 1)]
    try:
        return os.posix_spawn(words[0], list(words), dict(environment), file_actions=actions, setsid=True)
    finally:
        for fd in moved:
            os.close(fd)


def _attend(pid: int, report: socket.socket) -> None:
    """Tell of the process's end, or bring it about when the other side hangs up; its group goes with it."""
    with report:
        while True:
            if select.select([report], [], [], _LOOK_SECONDS)[0]:
                _kill_group(pid)
                time.sleep(_LOOK_SECONDS)
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                break
        _kill_group(pid)
        news = {
            "exit_code": os.waitstatus_to_exitcode(status),
            "cpu_user": usage.ru_utime,
            "cpu_system": usage.ru_stime,
            # Bytes there, kilobytes on every other system.
            "peak_kb": usage.ru_maxrss // 1024,
        }
        with contextlib.suppress(OSError):
            report.send(json.dumps(news).encode())


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
