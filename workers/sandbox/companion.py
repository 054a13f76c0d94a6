"""A process of our own beside the worker, known by its control socket: started, greeted, replaced if it died, ended.

It hands down nothing of this process's environment or descriptors, and knows nothing of what the process does.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.sandbox.base import SandboxUnavailableError

START_SECONDS = 20
MESSAGE_BYTES = 200_000
_PACKAGES = Path(__file__).parents[2]


class Companion:
    """One such process at a time, called `name` in refusals; safe to use from several threads at once.

    It runs the `main` of a module, is told its `plan` first, and answers with a `greeting`, an object of JSON. The end
    of its control socket asks it to end; after `end_seconds` it is killed.
    """

    def __init__(self, name: str, *, module: str, plan: Mapping[str, object], end_seconds: float) -> None:
        self._name = name
        self._script = f"import sys; sys.path.append(sys.argv[1]); from {module} import main; main(int(sys.argv[2]))"
        self._plan = json.dumps(plan).encode()
        self._end_seconds = end_seconds
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self.greeting: Mapping[str, Any] = {}

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Have it living; raises `SandboxUnavailableError` if it does not come up."""
        with self._lock:
            self._started()

    def send(self, message: bytes, fds: Sequence[int]) -> None:
        """Hand a message with descriptors over; one that died is replaced. Raises `SandboxUnavailableError`."""
        for retry in (True, False):
            try:
                with self._lock:
                    socket.send_fds(self._started(), [message], fds)
                return
            except (BrokenPipeError, ConnectionResetError) as error:
                if not retry:
                    raise SandboxUnavailableError(f"{self._name} dies at once; is memory short?") from error

    def close(self) -> None:
        """End it; a repeat does nothing."""
        with self._lock:
            self._closed = True
            self._stop()

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(self._end_seconds)
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
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and words
                [sys.executable, "-I", "-S", "-c", self._script, str(_PACKAGES), str(theirs.fileno())],
                env={},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._greet(self._control)
        return self._control

    def _greet(self, control: socket.socket) -> None:
        control.settimeout(START_SECONDS)
        greeting = b""
        with contextlib.suppress(OSError):
            control.send(self._plan)
            greeting = control.recv(MESSAGE_BYTES)
        if not greeting:
            self._stop()
            raise SandboxUnavailableError(f"{self._name} did not start; its own words are in the worker's log.")
        control.settimeout(None)
        self.greeting = json.loads(greeting)
