"""A long wire: joins two namespaces by two network cards of its own, and hands each frame on a little later.

python -m tests.support.hosts.wire PORT PID SECONDS (its end here is called PORT; the other is eth0 of the host in which
the process PID lives; says "ready" once both are there)
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

from tests.support.hosts.places import DEVICE

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_LONGEST_FRAME = 1 << 16


def _card(name: str) -> int:
    """A network card in the namespace of this thread, whose frames are read and written here."""
    card = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(card, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
    os.set_blocking(card, False)
    return card


def _carry(one: int, other: int, seconds: float) -> None:
    """Hand on for ever; frames keep their order."""
    under_way: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for card in select.select([one, other], [], [], wait)[0]:
            frame = os.read(card, _LONGEST_FRAME)
            under_way.append((time.monotonic() + seconds, other if card == one else one, frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, card, frame = under_way.popleft()
            try:
                os.write(card, frame)
            except OSError:
                continue  # that end is down: the frame is lost


def main(port: str, pid: int, seconds: float) -> None:
    near = _card(port)
    host = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(host, _CLONE_NEWNET):
        sys.exit("the host's namespace cannot be entered")
    far = _card(DEVICE)
    print("ready", flush=True)
    _carry(near, far, seconds)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
