"""What the hostile payloads share: try something forbidden, note down whatever was got hold of.

A payload returns its loot: an empty list means that the wall held. An error that no wall explains is not caught, so a
payload that is broken itself does not pass for a contained one.
"""

# ruff: noqa: PTH208 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Targets = dict[str, Any]
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


class Loot(list[str]):
    """Everything that should not have been possible."""

    def trying(self, what: str, attempt: Callable[..., object]) -> None:
        """Note `what` down unless the attempt is refused; an attempt that returns None or nothing got nothing."""
        with contextlib.suppress(OSError):
            got = attempt()
            if got is not None and got is not False and got != b"" and got != "" and got != []:
                self.append(f"{what}: {str(got)[:80]}")

    def doing(self, what: str, attempt: Callable[..., object]) -> None:
        """Note `what` down if the attempt is not refused, whatever it returns."""
        with contextlib.suppress(OSError):
            attempt()
            self.append(what)


def system_call(number: int, *arguments: object) -> int:
    """A bare system call; raises OSError as the kernel says."""
    passed = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = int(LIBC.syscall(ctypes.c_long(number), *passed))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"system call {number}")
    return result


def opened_for_writing(path: str) -> bool:
    """Open and close; never writes, so that nothing breaks where the wall is missing."""
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    return True


def opened_for_reading(path: str) -> bool:
    """Open and close; never reads."""
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    return True


def first_bytes(path: str | Path) -> bytes:
    """The beginning of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(fd, 80)
    finally:
        os.close(fd)


def numbered_processes() -> list[int]:
    """All processes that /proc shows, where it shows anything."""
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def others(targets: Targets) -> list[int]:
    """The worker and what it started, without this process, which may have waited for its call already."""
    return [pid for pid in targets["pids"] if pid != os.getpid()]


def scratch(name: str) -> str:
    """A path in the folder that the call may write to."""
    return f"{os.environ.get('TMPDIR', '/tmp')}/{name}"


def for_seconds(seconds: float) -> Callable[[], bool]:
    """A question that is answered with yes for so long."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until
