"""The system calls that Python has no word for: namespaces, mounts, capabilities, a process's own attributes.

It never decides anything, and all symbols are looked up when it is imported: a forked child finds them ready.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
_PR_CAPBSET_READ, _PR_CAP_AMBIENT_IS_SET = 23, 1

_CAPABILITY_VERSION = 0x20080522
_EINVAL = 22

_libc = ctypes.CDLL(None, use_errno=True)


def _absent(*_: object) -> int:
    ctypes.set_errno(errno.ENOSYS)
    return -1


def _symbol(name: str) -> Any:
    # On other systems than Linux this module is imported as well, and asked for nothing.
    return getattr(_libc, name, _absent)


_unshare, _mount, _setns = _symbol("unshare"), _symbol("mount"), _symbol("setns")
_prctl, _syscall, _capset, _capget = _symbol("prctl"), _symbol("syscall"), _symbol("capset"), _symbol("capget")
_mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_capset.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_capget.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_syscall.restype = ctypes.c_long


def _checked(result: int, words: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{words}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Give this process fresh namespaces of the kinds in `flags`; OSError if one is refused."""
    _checked(_unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind the descriptor (for a pid namespace: its future children do)."""
    _checked(_setns(fd, kind), f"setns({kind:#x})")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount or bind; OSError that names the target."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    _checked(_mount(words[0], words[1], words[2], flags, words[3]), f"mount on {target}")


def prctl(option: int, *values: int) -> int:
    """One operation on this process's own attributes."""
    filled = (*values, 0, 0, 0, 0)[:4]
    return _checked(_prctl(option, *filled), f"prctl({option})")


def drop_capabilities() -> None:
    """Give up every capability in every set, the bounding set included; no later exec brings one back."""
    capability = 0
    while True:
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == _EINVAL:
                break  # one beyond the last that this kernel knows
            raise
        capability += 1
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _checked(_capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)), "capset")


def capabilities() -> list[int]:
    """This process's inheritable, permitted, effective and ambient privileges, each as one number."""
    held = ctypes.create_string_buffer(24)
    _checked(_capget(struct.pack("=Ii", _CAPABILITY_VERSION, 0), held), "capget")
    words = struct.unpack("=6I", held.raw)
    effective, permitted, inheritable = (words[place] | words[place + 3] << 32 for place in range(3))
    ambient = sum(
        1 << number for number in range(64) if _prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_IS_SET, number, 0, 0) == 1
    )
    return [inheritable, permitted, effective, ambient]


def bounding_set() -> int:
    """The privileges that a program could still give to this process, as one number."""
    return sum(1 << number for number in range(64) if _prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1)


def system_call(number: int, *arguments: object) -> int:
    """A call by its number, for those younger than the C library; OSError if it is refused."""
    return _checked(_syscall(ctypes.c_long(number), *arguments), f"system call {number}")
