"""The call's end of the way out: a listening socket in its own network namespace, handed out while it is still trusted.

It never connects anywhere, and nothing of the call keeps the socket: what is accepted on it is accepted outside.
"""

from __future__ import annotations

import fcntl
import socket
import struct

PLACE = ("127.0.0.1", 3128)
BACKLOG = 128
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_REQUEST = struct.Struct("16sH22x")


def hand_out_listener(report_fd: int) -> None:
    """Bring up the loopback device of this network namespace, listen there, and send the socket over `report_fd`.

    Both descriptors are closed afterwards. Raises OSError, and then the call must not go on.
    """
    with socket.socket(fileno=report_fd) as report, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        _bring_up(listener, "lo")
        listener.bind(PLACE)
        listener.listen(BACKLOG)
        socket.send_fds(report, [b"listener"], [listener.fileno()])


def _bring_up(any_socket: socket.socket, device: str) -> None:
    answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _REQUEST.pack(device.encode(), 0))
    flags: int = _REQUEST.unpack(answer)[1]
    fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _REQUEST.pack(device.encode(), flags | _IFF_UP))


def proxy_environment() -> dict[str, str]:
    """The variables by which programs find the proxy; both spellings, for each half of them reads only one."""
    address = f"http://{PLACE[0]}:{PLACE[1]}"
    named = {"HTTP_PROXY": address, "HTTPS_PROXY": address, "ALL_PROXY": address, "NO_PROXY": ""}
    return named | {name.lower(): value for name, value in named.items()}
