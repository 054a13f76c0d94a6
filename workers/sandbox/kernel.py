"""The system calls that Python has no word for: namespaces, mounts, capabilities, a process's own attributes.

It never decides anything, and all symbols are looked up when it is imported: a forked child finds them ready.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
_PR_CAPBSET_READ, _PR_CAP_AMBIENT_IS_SET = 23, 1

_CAPABILITY_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _absent(*_: object) -> int:
    ctypes.set_errno(errno.ENOSYS)
    return -1


def _symbol(name: str) -> Any:
    # On other systems than Linux this module is imported as well, and asked for nothing.
    return getattr(_libc, name, _absent)


_unshare, _mount, _setns = _symbol("unshare"), _symbol("mount"), _symbol("setns")
_prctl, _syscall, _capset, _capget = _symbol("prctl"), _symbol("syscall"), _symbol("capset"), _symbol("capget")
_capget.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_syscall.restype = ctypes.c_long


class Act(NamedTuple):
    """Something to be done later, as by a forked child: `do(*arguments)`, which answers 0 or nothing if it was done.

    All that can be made of it beforehand is made: a child copies each page on which it so much as looks at an object.
    """

    words: str
    do: Callable[..., object]
    arguments: tuple[Any, ...] = ()


def perform(acts: Iterable[Act]) -> None:
    """Do one after the other; OSError by the first that is refused, with its words."""
    for words, do, arguments in acts:
        try:
            refused = do(*arguments)
        except OSError as error:
            said = error.strerror or str(error)
            raise OSError(error.errno, f"{words}: {said}" if words else said) from error
        if refused:
            number = ctypes.get_errno()
            raise OSError(number, f"{words}: {os.strerror(number)}")


def _checked(result: int, words: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{words}: {os.strerror(number)}")
    return result


def to_unshare(flags: int) -> Act:
    """What `unshare` does, later."""
    return Act(f"unshare({flags:#x})", _unshare, (ctypes.c_int(flags),))


def to_mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> Act:
    """What `mount` does, later."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    return Act(f"mount on {target}", _mount, (words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]))


def to_prctl(option: int, *values: object) -> Act:
    """What `prctl` does, later, where it answers nothing; a value may be an address, as something of ctypes."""
    filled = (ctypes.c_ulong(value) if isinstance(value, int) else value for value in (*values, 0, 0, 0, 0)[:4])
    return Act(f"prctl({option})", _prctl, (ctypes.c_int(option), *filled))


def to_call(number: int, *arguments: object) -> Act:
    """What `system_call` does, later, where it answers nothing."""
    return Act(f"system call {number}", _syscall, (ctypes.c_long(number), *arguments))


def to_write(path: str, text: str) -> Act:
    """Write a text to a file of the kernel's, later."""
    return Act("", _write, (path, text.encode()))


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def _is_capability(number: int) -> bool:
    """Whether this kernel knows a capability of that number; OSError if it may not be asked."""
    if _asked(_PR_CAPBSET_READ, number) >= 0:
        return True
    if (error := ctypes.get_errno()) != errno.EINVAL:
        raise OSError(error, f"prctl {_PR_CAPBSET_READ}: {os.strerror(error)}")
    return False


def to_drop_capabilities() -> list[Act]:
    """Give up every capability in every set, later, the bounding set included; no later exec brings one back."""
    known = itertools.takewhile(_is_capability, itertools.count())
    acts = [to_prctl(PR_CAPBSET_DROP, number) for number in known]
    none = (struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24))
    return [*acts, to_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL), Act("capset", _capset, none)]


def unshare(flags: int) -> None:
    """Give this process fresh namespaces of the kinds in `flags`; OSError if one is refused."""
    perform([to_unshare(flags)])


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind the descriptor (for a pid namespace: its future children do)."""
    _checked(_setns(fd, kind), "setns")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount or bind; OSError that names the target."""
    perform([to_mount(source, target, kind, flags, options)])


def prctl(option: int, *values: int) -> int:
    """One operation on this process's own attributes."""
    return _checked(_asked(option, *values), f"prctl({option})")


def _asked(option: int, *values: int) -> int:
    _, do, arguments = to_prctl(option, *values)
    answer = do(*arguments)
    assert isinstance(answer, int)
    return answer


def capabilities() -> list[int]:
    """This process's inheritable, permitted, effective and ambient privileges, each as one number."""
    held = ctypes.create_string_buffer(24)
    _checked(_capget(struct.pack("=Ii", _CAPABILITY_VERSION, 0), held), "capget")
    words = struct.unpack("=6I", held.raw)
    effective, permitted, inheritable = (words[place] | words[place + 3] << 32 for place in range(3))
    ambient = sum(1 << number for number in range(64) if _asked(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_IS_SET, number) == 1)
    return [inheritable, permitted, effective, ambient]


def bounding_set() -> int:
    """The privileges that a program could still give to this process, as one number."""
    known = itertools.takewhile(_is_capability, itertools.count())
    return sum(1 << number for number in known if _asked(_PR_CAPBSET_READ, number) == 1)


def system_call(number: int, *arguments: object) -> int:
    """A call by its number, for those younger than the C library; OSError if it is refused."""
    result: int = _syscall(ctypes.c_long(number), *arguments)
    return result if result >= 0 else _checked(result, f"system call {number}")
