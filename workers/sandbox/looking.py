"""What a sealed process finds when it tries its own wall: it does, and says what came of it.

It never judges; the supervisor does, for a process that lies about its wall is no worse than one that has none. It asks
the kernel itself where it can, for not every wall has a /proc behind it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from workers.sandbox import kernel

_PR_GET_SECCOMP, _PR_GET_NO_NEW_PRIVS = 21, 39
_HIGHEST_FD = 256


def look(asked: Mapping[str, Any]) -> dict[str, object]:
    """Try everything that must fail and the little that must not; the answers by name."""
    scratch = os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - the call's own
    return {
        "python": list(sys.version_info[:2]) == asked["python"],
        "capabilities": kernel.capabilities(),
        "bounding": kernel.bounding_set(),
        "no_new_privs": kernel.prctl(_PR_GET_NO_NEW_PRIVS) == 1,
        "filtered": kernel.prctl(_PR_GET_SECCOMP) == 2,
        "threads": len(_names("/proc/self/task")) or 1,
        "canary": _succeeds(lambda: _read(asked["canary"])),
        "project": _succeeds(lambda: os.listdir(asked["project"])),  # noqa: PTH208
        "project_writable": _succeeds(lambda: _written(f"{asked['project']}/.errandry-probe")),
        "host_root": _succeeds(lambda: os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))),
        "system_writable": _succeeds(lambda: _written("/usr/errandry-probe")),
        "scratch": _succeeds(lambda: _written(f"{scratch}/probe")),
        "network": _succeeds(lambda: socket.create_connection(("127.0.0.1", asked["port"]), timeout=2).close()),
        # Who bears the supervisor's number itself is in a namespace of its own; in a container that number often is 1.
        "supervisor": os.getpid() != asked["supervisor"] and _succeeds(lambda: os.kill(asked["supervisor"], 0)),
        "stranger": _succeeds(lambda: os.kill(os.getppid() or -1, 0)),
        "namespaces": _succeeds(lambda: kernel.unshare(kernel.CLONE_NEWUSER)),
        "mounts": _succeeds(lambda: kernel.mount("tmpfs", scratch, "tmpfs", 0)),
        "memory": _succeeds(lambda: len(bytearray(asked["too_many_bytes"]))),
        "processes": sorted(int(name) for name in _names("/proc") if name.isdigit()),
        "descriptors": [fd for fd in range(_HIGHEST_FD) if _succeeds(lambda fd=fd: os.fstat(fd))],  # type: ignore[misc]
    }


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, MemoryError):
        return False
    return True


def _names(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(folder)  # noqa: PTH208 - names only
    return []


def _read(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, 1)
    os.close(fd)


def _written(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, b"x")
    os.close(fd)
    os.unlink(path)  # noqa: PTH108 - this module stays light
