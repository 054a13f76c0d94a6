"""Payloads that go for the file systems themselves: mounts, roots, handles."""

# ruff: noqa: PTH102 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import ctypes
import os
import sys

from tests.support.hostile.attempts import LIBC, Loot, Targets, scratch, system_call

_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


def mount(source: bytes | None, target: str, kind: bytes | None, flags: int, options: bytes | None = None) -> bool:
    """The system call mount; no payload by itself."""
    if LIBC.mount(source, os.fsencode(target), kind, ctypes.c_ulong(flags), options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    return True


def remount_read_write(targets: Targets) -> list[str]:
    """Make the read-only trees writable again."""
    loot = Loot()
    for place in ("/usr", "/", "/etc/passwd", sys.prefix, targets["project"], "/proc", "/dev"):
        loot.trying(place, lambda place=place: mount(None, place, None, _MS_REMOUNT | _MS_BIND))
        loot.trying(f"{place} as a whole", lambda place=place: mount(None, place, None, _MS_REMOUNT))
    return loot


def mount_something(targets: Targets) -> list[str]:
    """A file system, a bind, an overlay, a fresh proc or a cgroup hierarchy of one's own."""
    loot = Loot()
    place = scratch(f"mount-{targets['plant']}")
    os.mkdir(place)
    loot.trying("tmpfs", lambda: mount(b"tmpfs", place, b"tmpfs", 0))
    loot.trying("bind", lambda: mount(b"/usr", place, None, _MS_BIND | _MS_REC))
    loot.trying("proc", lambda: mount(b"proc", place, b"proc", 0))
    loot.trying("sysfs", lambda: mount(b"sysfs", place, b"sysfs", 0))
    loot.trying("overlay", lambda: mount(b"o", place, b"overlay", 0, b"lowerdir=/usr,upperdir=/tmp,workdir=/tmp"))
    loot.trying("cgroup", lambda: mount(b"cgroup", place, b"cgroup", 0, b"memory"))
    loot.trying("cgroup2", lambda: mount(b"cgroup2", place, b"cgroup2", 0))
    loot.trying("devpts", lambda: mount(b"devpts", place, b"devpts", 0, b"newinstance"))
    loot.trying("private", lambda: mount(None, "/", None, _MS_REC | _MS_PRIVATE))
    return loot


def change_the_root(targets: Targets) -> list[str]:
    """chroot and back out, pivot_root, unmounting what covers something."""
    loot = Loot()
    with contextlib.suppress(OSError):
        os.mkdir(scratch("newroot"))
    loot.doing("chroot", lambda: os.chroot(scratch("newroot")))
    loot.doing("pivot_root", lambda: system_call(155, os.fsencode(scratch("newroot")), os.fsencode(scratch("newroot"))))
    for place in ("/tmp", "/proc", "/dev/shm", "/dev", targets["project"], "/etc/passwd", "/usr"):
        loot.doing(f"umount {place}", lambda place=place: system_call(166, os.fsencode(place), 2))
    return loot


def open_by_handle(targets: Targets) -> list[str]:
    """A file by its number on the disk, without a path: out of every mount namespace."""
    loot = Loot()

    class Handle(ctypes.Structure):
        _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128))

    for place in ("/usr", targets["project"], "/tmp"):
        handle, mount_id = Handle(size=128), ctypes.c_int()
        with contextlib.suppress(OSError):
            system_call(303, -100, os.fsencode(place), ctypes.byref(handle), ctypes.byref(mount_id), 0)
            fd = os.open(place, os.O_RDONLY)
            loot.doing(
                f"below {place}", lambda fd=fd, handle=handle: system_call(304, fd, ctypes.byref(handle), os.O_RDONLY)
            )
    return loot
