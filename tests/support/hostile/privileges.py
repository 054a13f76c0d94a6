"""Payloads that go for rights: root, capabilities, filters undone, the machine's clock, name and memory."""

# ruff: noqa: PTH108, PTH123 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os

from tests.support.hostile.attempts import LIBC, Loot, Targets, scratch, system_call


def become_root(targets: Targets) -> list[str]:
    """User ids, groups and capabilities by every call there is."""
    loot = Loot()
    loot.doing("setuid", lambda: os.setuid(0))
    loot.doing("setresuid", lambda: os.setresuid(0, 0, 0))
    loot.doing("setgid", lambda: os.setgid(0))
    loot.doing("setgroups", lambda: os.setgroups([0]))
    header = ctypes.create_string_buffer((0x20080522).to_bytes(4, "little") + bytes(4), 8)
    loot.doing("capset", lambda: system_call(126, header, b"\xff" * 24))
    loot.trying("ambient", lambda: LIBC.prctl(47, 2, 21, 0, 0) == 0)
    loot.trying("securebits", lambda: LIBC.prctl(28, 0x2F, 0, 0, 0) == 0)
    version = ctypes.create_string_buffer((0x20080522).to_bytes(4, "little") + bytes(4), 8)
    sets = ctypes.create_string_buffer(24)
    system_call(125, version, sets)
    return [*loot, *(["it has capabilities"] if any(sets.raw) else [])]


def undo_the_filters(targets: Targets) -> list[str]:
    """What may only ever become stricter."""
    loot = Loot()
    loot.trying("no_new_privs", lambda: LIBC.prctl(38, 0, 0, 0, 0) == 0)
    loot.trying("seccomp off", lambda: LIBC.prctl(22, 0, 0, 0, 0) == 0)
    loot += [] if LIBC.prctl(39, 0, 0, 0, 0) == 1 else ["privileges can be gained"]
    loot += [] if LIBC.prctl(21, 0, 0, 0, 0) == 2 else ["no filter"]
    return loot


def set_the_clock(targets: Targets) -> list[str]:
    """To the time that it already has, so that nothing happens where it works."""
    loot = Loot()
    now = (ctypes.c_long * 2)()
    system_call(228, 0, now)
    loot.doing("clock_settime", lambda: system_call(227, 0, now))
    loot.doing("settimeofday", lambda: system_call(164, (ctypes.c_long * 2)(now[0], now[1] // 1000), 0))
    return loot


def rename_the_machine(targets: Targets) -> list[str]:
    """Its host name, to what it already is."""
    loot = Loot()
    name = os.uname().nodename.encode()
    loot.doing("sethostname", lambda: system_call(170, name, len(name)))
    loot.doing("setdomainname", lambda: system_call(171, b"(none)", 6))
    return loot


def add_swap(targets: Targets) -> list[str]:
    """A file of one's own as the machine's memory."""
    loot = Loot()
    with open(scratch("swap"), "wb") as file:
        file.write(bytes(1 << 16))
    loot.doing("swapon", lambda: system_call(167, os.fsencode(scratch("swap")), 0))
    os.unlink(scratch("swap"))
    return loot


def watch_the_whole_file_system(targets: Targets) -> list[str]:
    """fanotify, which may see and allow other people's file accesses."""
    loot = Loot()
    loot.doing("permission", lambda: os.close(system_call(300, 4, 0)))
    loot.doing("content", lambda: os.close(system_call(300, 8, 0)))

    def mark() -> None:
        fd = system_call(300, 0x200, 0)
        try:
            system_call(301, fd, 0x100 | 1, 0x20, -100, b"/")
        finally:
            os.close(fd)

    loot.doing("mark the file system", mark)
    return loot


def type_into_a_terminal(targets: Targets) -> list[str]:
    """What is put into a terminal's input is run by the shell behind it."""
    loot = Loot()
    fds = [0, 1, 2]
    for path in ("/dev/tty", "/dev/console", "/dev/tty0", "/dev/pts/0", "/dev/ptmx"):
        with contextlib.suppress(OSError):
            fds.append(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    for fd in fds:
        loot.doing(f"TIOCSTI {fd}", lambda fd=fd: fcntl.ioctl(fd, 0x5412, b"\n"))
        loot.doing(f"TIOCLINUX {fd}", lambda fd=fd: fcntl.ioctl(fd, 0x541C, b"\2"))
        # The kernel compares the lower half of the number only.
        with contextlib.suppress(OSError):
            system_call(16, fd, 0x1_0000_5412, b"\n")
            loot.append(f"TIOCSTI with a high half {fd}")
    return loot
