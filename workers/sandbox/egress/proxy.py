"""The supervisor's side of the way out: has a proxy's process, hands it listeners, hears what was reached.

It never carries a byte itself, and it gives the proxy neither its environment nor a descriptor of its own.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping

from pydantic import JsonValue

from queues.settings import SandboxSettings
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.companion import Companion
from workers.sandbox.egress.policy import Policy
from workers.sandbox.launching import Identity

END_SECONDS = 5
PROXY_END_SECONDS = 2
REPORT_BYTES = 1 << 17
# Not the tools' user: where they share the machine's processes, none of them may touch the proxy.
UID = GID = 65533


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

    def __init__(self, policy: Policy) -> None:
        identity = Identity.of_this_process(UID, GID)
        self._companion = Companion(
            "The egress proxy",
            module="workers.sandbox.egress.server",
            plan={"uid": identity.uid, "gid": identity.gid, "policy": policy.to_json()},
            end_seconds=PROXY_END_SECONDS,
        )

    @property
    def pid(self) -> int | None:
        """The proxy's process, while there is one."""
        return self._companion.pid

    def start(self) -> None:
        """Have a living proxy; raises `SandboxUnavailableError` if it does not come up."""
        self._companion.start()

    def serve(self, listener: socket.socket) -> Egress:
        """Accept on `listener`, which is closed here, until the call's `Egress` is ended.

        A proxy that died is replaced. Raises `SandboxUnavailableError` if that fails or `listener` does not listen.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with listener, theirs:
                _check_listening(listener)
                self._companion.send(b"serve", [listener.fileno(), theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        return Egress(ours)

    def close(self) -> None:
        """End the proxy and every connection through it; a repeat does nothing."""
        self._companion.close()


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
