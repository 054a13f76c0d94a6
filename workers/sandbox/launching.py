"""The supervisor's side of the launcher: start it, order processes from it, start another one if it died.

It never forks a sandbox itself, and it hands down nothing of this process's environment or descriptors.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.sandbox import launcher
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.staging import STAGE

START_SECONDS = 20
_PACKAGES = Path(launcher.__file__).parents[2]
_SCRIPT = "import sys; sys.path.append(sys.argv[1]); from workers.sandbox.launcher import main; main(int(sys.argv[2]))"


@dataclass(frozen=True)
class Identity:
    """The user that sandboxes start as; None of both: the user of this process, which is then not root."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def of_this_process(cls, uid: int = 65534, gid: int = 65534) -> Identity:
        """Nobody's identity for a root worker, its own for any other: a sandbox never starts as the host's uid 0."""
        return cls(uid=uid, gid=gid) if os.geteuid() == 0 else cls()


class Launcher:
    """Orders processes from one launcher process; safe to use from several threads at once."""

    def __init__(self, *, identity: Identity, stage: Sequence[Path] = ()) -> None:
        self._identity = identity
        self._paths = [str(path) for path in stage]
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._staged = False
        self._closed = False
        self.words = ""

    def start(self) -> None:
        """Have a living launcher; raises `SandboxUnavailableError` with its own words if it does not come up."""
        with self._lock:
            self._started()

    def place_of(self, path: Path) -> str:
        """Where the launcher finds `path`: by its number if it lies below a staged path, as it is otherwise."""
        if self._staged:
            # The longest staged path wins: it may be a mount of its own inside a shorter one.
            for number, staged in sorted(enumerate(self._paths), key=lambda item: -len(item[1])):
                if path.is_relative_to(staged):
                    return str(Path(STAGE, str(number)) / path.relative_to(staged))
        return str(path)

    def order(
        self, argv: Sequence[str], *, environment: Mapping[str, str], fds: Sequence[int], walled: bool
    ) -> socket.socket:
        """Start a process whose descriptors 1, 2, 3... are `fds`; returns the socket on which its news arrive.

        The end of that socket (a shutdown is enough) kills the process tree. Raises `SandboxUnavailableError`.
        """
        message = json.dumps({"argv": list(argv), "environment": dict(environment), "walled": walled}).encode()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            for retry in (True, False):
                try:
                    with self._lock:
                        control = self._started()
                        socket.send_fds(control, [message], [theirs.fileno(), *fds])
                    break
                except (BrokenPipeError, ConnectionResetError) as error:
                    if not retry:
                        raise SandboxUnavailableError(
                            "The sandbox's launcher dies at once; is memory short?"
                        ) from error
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """End the launcher and with it all that it started; a repeat does nothing."""
        with self._lock:
            self._closed = True
            self._stop()

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None

    def _started(self) -> socket.socket:
        if self._closed:
            raise SandboxUnavailableError("The sandbox is closed; open another one.")
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        self._stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and words
                [sys.executable, "-I", "-S", "-c", _SCRIPT, str(_PACKAGES), str(theirs.fileno())],
                env={},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._control = ours
        self._greet(ours)
        return ours

    def _greet(self, control: socket.socket) -> None:
        plan = {"uid": self._identity.uid, "gid": self._identity.gid, "stage": self._paths}
        control.settimeout(START_SECONDS)
        greeting = b""
        with contextlib.suppress(OSError):
            control.send(json.dumps(plan).encode())
            greeting = control.recv(launcher.MESSAGE_BYTES)
        if not greeting:
            self._stop()
            raise SandboxUnavailableError(
                "The sandbox's launcher did not start; its own words are in the worker's log."
            )
        control.settimeout(None)
        news = json.loads(greeting)
        self._staged, self.words = news["staged"], news["words"]
