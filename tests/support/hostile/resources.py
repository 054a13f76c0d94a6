"""Payloads that take more than their share: memory, processor, disk, descriptors, attention."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import signal
import sys
import threading
import time

from tests.support.hostile.attempts import Targets

_MEGABYTE = b"x" * (1 << 20)


def spin(targets: Targets) -> None:
    """One process, one thread."""
    while True:
        pass


def spin_in_children(targets: Targets) -> None:
    """Each of them below the limit."""
    for _ in range(6):
        if os.fork() == 0:
            break
    while True:
        pass


def spin_in_orphans(targets: Targets) -> str:
    """The work is done by processes without a parent, while this one waits and uses nothing."""
    for _ in range(4):
        if os.fork() == 0:
            with contextlib.suppress(OSError):
                os.setsid()
            if os.fork() == 0:
                while True:
                    pass
            os._exit(0)
    time.sleep(60)
    return "waited"


def spin_in_short_lives(targets: Targets) -> str:
    """Each ends long before its limit, and nobody waits for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                sum(range(400_000))
                os._exit(0)
        time.sleep(0.005)
    return "worked"


def spin_deaf_to_signals(targets: Targets) -> None:
    """The kernel's warning is caught and ignored."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def match_for_ever(targets: Targets) -> str:
    """An expression whose work doubles with each letter, in C code that looks at no signal."""
    return str(re.match(r"(a+)+$", "a" * 40 + "b"))


def compute_for_ever(targets: Targets) -> int:
    """A number that does not fit anywhere."""
    return len(str(7 ** (10**8)))


def sleep_for_ever(targets: Targets) -> None:
    """Uses nothing but time."""
    time.sleep(10**6)


def wait_in_the_kernel(targets: Targets) -> bytes:
    """Reads from a pipe that nobody writes to."""
    return os.read(os.pipe()[0], 1)


def flood_stdout(targets: Targets) -> str:
    """Far more than anybody keeps."""
    return _flood(1)


def flood_stderr(targets: Targets) -> str:
    """The same on the other stream."""
    return _flood(2)


def _flood(fd: int) -> str:
    for _ in range(200):
        rest = memoryview(_MEGABYTE)
        while rest:
            rest = rest[os.write(fd, rest) :]
    return "flooded"


def flood_every_descriptor(targets: Targets) -> None:
    """The answer's pipe as well, for ever."""
    fds = [fd for fd in range(1, 64) if fd != 0]
    while True:
        for fd in fds:
            with contextlib.suppress(OSError):
                os.set_blocking(fd, False)
                os.write(fd, _MEGABYTE)


def flood_in_small_pieces(targets: Targets) -> None:
    """A million tiny writes, from several threads, without end."""

    def write() -> None:
        while True:
            os.write(1, b"x")

    for _ in range(3):
        threading.Thread(target=write, daemon=True).start()
    write()


def dump_core(targets: Targets) -> None:
    """A crash whose memory lands in a file, or in the machine's core handler."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    ctypes.string_at(0)


def recurse_without_end(targets: Targets) -> object:
    """The interpreter's own stack, with its guard removed."""
    sys.setrecursionlimit(10**9)
    value: object = []
    for _ in range(10**6):
        value = [value]
    return repr(value)
