"""The supervisor's side of the way out: starts the proxy's process, hands it listeners, hears what was reached.

It never carries a byte itself, and it gives the proxy neither its environment nor a descriptor of its own.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from queues.settings import SandboxSettings
from workers.sandbox import launcher
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.egress.policy import Policy
from workers.sandbox.launching import Identity

START_SECONDS = 20
END_SECONDS = 5
REPORT_BYTES = 1 << 17
# Not the tools' user: where they share the machine's processes, none of them may touch the proxy.
UID = GID = 65533
_PACKAGES = Path(launcher.__file__).parents[2]
_SCRIPT = (
    "import sys; sys.path.append(sys.argv[1]); from workers.sandbox.egress.server import main; main(int(sys.argv[2]))"
)


def policy_of(settings: SandboxSettings) -> Policy:
    """What a pool's settings let its tools reach."""
    return Policy(domains=settings.allow_domains, ports=settings.allow_ports, allow_private=settings.allow_private)


class Egress:
    """One call's way out, open until `end`."""

    def __init__(self, report: socket.socket) -> None:
        self._report = report

    def end(self) -> Mapping[str, JsonValue]:
        """Close the way out and tell names and bytes; empty if the proxy died meanwhile. To be called once."""
        told: dict[str, JsonValue] = {}
        with self._report, contextlib.suppress(OSError, ValueError):
            self._report.shutdown(socket.SHUT_WR)
            self._report.settimeout(END_SECONDS)
            answer = json.loads(self._report.recv(REPORT_BYTES))
            told = answer if isinstance(answer, dict) else {}
        return told


class EgressProxy:
    """Serves listeners with one proxy process; safe to use from several threads at once."""

    def __init__(self, policy: Policy, *, identity: Identity | None = None) -> None:
        self._policy = policy
        self._identity = identity if identity is not None else Identity.of_this_process(UID, GID)
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The proxy's process, while there is one."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Have a living proxy; raises `SandboxUnavailableError` if it does not come up."""
        with self._lock:
            self._started()

    def serve(self, listener: socket.socket) -> Egress:
        """Accept on `listener`, which is closed here, until the call's `Egress` is ended.

        A proxy that died is replaced. Raises `SandboxUnavailableError` if that fails or `listener` does not listen.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with listener, theirs:
                _check_listening(listener)
                self._hand_over([listener.fileno(), theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        return Egress(ours)

    def _hand_over(self, fds: list[int]) -> None:
        for retry in (True, False):
            try:
                with self._lock:
                    socket.send_fds(self._started(), [b"serve"], fds)
                return
            except (BrokenPipeError, ConnectionResetError) as error:
                if not retry:
                    raise SandboxUnavailableError("The egress proxy dies at once; is memory short?") from error

    def close(self) -> None:
        """End the proxy and every connection through it; a repeat does nothing."""
        with self._lock:
            self._closed = True
            self._stop()

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None

    def _started(self) -> socket.socket:
        if self._closed:
            raise SandboxUnavailableError("The egress proxy is closed; open another sandbox.")
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
        plan = {"uid": self._identity.uid, "gid": self._identity.gid, "policy": self._policy.to_json()}
        control.settimeout(START_SECONDS)
        greeting = b""
        with contextlib.suppress(OSError):
            control.send(json.dumps(plan).encode())
            greeting = control.recv(16)
        if not greeting:
            self._stop()
            raise SandboxUnavailableError("The egress proxy did not start; its own words are in the worker's log.")
        control.settimeout(None)


def receive_listener(report: socket.socket) -> socket.socket:
    """The listening socket that a call has handed out over `report`; raises `SandboxUnavailableError` if it did not."""
    _, fds, _, _ = socket.recv_fds(report, 16, 1)
    if not fds:
        raise SandboxUnavailableError("A call has handed out no way to the network.")
    return socket.socket(fileno=fds[0])


def _check_listening(listener: socket.socket) -> None:
    # It comes from behind the wall: only what it is counts, not what it is said to be.
    is_tcp = listener.family in (socket.AF_INET, socket.AF_INET6) and listener.type == socket.SOCK_STREAM
    if not is_tcp or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise SandboxUnavailableError("What a call handed out as its way to the network is no listening socket.")
