"""Payloads that fill disks, tables and descriptors."""

# ruff: noqa: PTH102, PTH108, PTH116, PTH123 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

from tests.support.hostile.attempts import Targets, scratch, system_call

_MEGABYTE = b"x" * (1 << 20)


def fill_the_disk(targets: Targets) -> list[str]:
    """Files in every folder that lets itself be written to."""
    written = 0
    for folder in dict.fromkeys(map(os.path.realpath, (scratch(""), "/tmp", "/dev/shm", "/var/tmp", "/run", "."))):
        with contextlib.suppress(OSError):
            for number in range(targets["limits"]["disk_mb"] * 4):
                Path(folder, f"fill-{targets['plant']}-{number}").write_bytes(_MEGABYTE)
                written += 1
    # /dev/shm is limited on its own, to the same or less.
    return [f"wrote {written} MiB"] if written > targets["limits"]["disk_mb"] * 2 else []


def fill_the_disk_with_names(targets: Targets) -> list[str]:
    """Empty files: no bytes, but memory all the same."""
    made = 0
    for folder in (scratch(""), "/dev/shm"):
        with contextlib.suppress(OSError):
            os.mkdir(f"{folder}/names")
            for number in range(targets["limits"]["inodes"] * 2):
                os.mkdir(f"{folder}/names/{number}")
                made += 1
    return [f"made {made} folders"] if made > targets["limits"]["inodes"] * 2 else []


def write_one_large_file(targets: Targets) -> list[str]:
    """Beyond the size that one file may have."""
    with contextlib.suppress(OSError), open(scratch("large"), "wb", buffering=0) as file:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for _ in range(targets["limits"]["disk_mb"] * 4):
            file.write(_MEGABYTE)
    size = os.stat(scratch("large")).st_size
    os.unlink(scratch("large"))
    return [f"wrote {size >> 20} MiB"] if size > targets["limits"]["disk_mb"] << 20 else []


def make_a_sparse_file(targets: Targets) -> list[str]:
    """A terabyte of nothing, for whoever packs or copies it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with contextlib.suppress(OSError), open(scratch("sparse"), "wb") as file:
        file.truncate(1 << 40)
    size = os.stat(scratch("sparse")).st_size
    os.unlink(scratch("sparse"))
    return [f"{size} bytes"] if size > targets["limits"]["disk_mb"] << 20 else []


def open_many_files(targets: Targets) -> list[str]:
    """Descriptors, until it is refused."""
    opened = 0
    with contextlib.suppress(OSError):
        for _ in range(5000):
            os.open("/dev/null", os.O_RDONLY)
            opened += 1
    return [f"{opened} files"] if opened > 4096 else []


def hold_files_in_flight(targets: Targets) -> list[str]:
    """Descriptors inside sockets count for nobody."""
    sent = 0
    pairs: list[tuple[socket.socket, socket.socket]] = []
    with contextlib.suppress(OSError):
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
        while sent < 20_000 and len(pairs) < 200:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            ours.setblocking(False)
            pairs.append((ours, theirs))
            with contextlib.suppress(BlockingIOError):
                while sent < 20_000:
                    socket.send_fds(ours, [b"x"], fds)
                    sent += len(fds)
    return [f"{sent} in flight"] if sent >= 20_000 else []


def watch_many_files(targets: Targets) -> list[str]:
    """Watches are kernel memory, counted for the user and not for the process."""
    made = 0
    with contextlib.suppress(OSError):
        fd = system_call(253)
        Path(scratch("watched")).mkdir(exist_ok=True)
        for number in range(20_000):
            path = scratch(f"watched/{number}")
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            system_call(254, fd, path.encode(), 2)
            made += 1
    return [f"{made} watches"] if made >= 20_000 else []
