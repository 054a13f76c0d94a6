"""Takes files, TCP ports and signals away from a process by the kernel's Landlock: what is not granted is refused.

It never asks for a kernel's version: the kernel itself says which rights it can keep, and `gaps` says which it cannot.
It imports little, for it runs on the sandboxed side.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Sequence

from workers.sandbox import kernel

# The same numbers on every machine.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1

_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM
_WRITE |= _REFER | _TRUNCATE
# What can be granted on anything but a folder.
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
# The highest right over files that each ABI brought; nobody is granted the making of device files.
_NEWEST_RIGHT = {1: _MAKE_SYM, 2: _REFER, 3: _TRUNCATE, 4: _TRUNCATE, 5: _IOCTL_DEV, 6: _IOCTL_DEV}
# The newest one whose rights are used here; later ones are treated as this one.
NEWEST_ABI = 6

_GAPS = {
    2: "files cannot be moved between folders",
    3: "existing files can be truncated wherever their mode allows it",
    4: "TCP ports are not restricted",
    5: "devices can be controlled by ioctl where they can be opened",
    6: "signals reach other processes of the same user, and abstract sockets those of the machine",
}


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _NetPort(ctypes.Structure):
    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


_NO_FLAGS = ctypes.c_uint32(0)


def abi() -> int:
    """The version of Landlock that the running kernel offers; 0 if there is none, or it is switched off."""
    try:
        return kernel.system_call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    except OSError as error:
        # Not built in, switched off at boot, or refused by a filter around this process.
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def gaps(version: int) -> list[str]:
    """What this version of Landlock leaves open or breaks, in words for the report; none from ABI 6 on."""
    return [words for since, words in _GAPS.items() if version < since] if version else ["Landlock is missing"]


class Restriction:
    """Only these paths, ports and signals, made ready for whoever is to be left with no more.

    Below `read` files can be read, listed and executed; below `write` also made, changed and removed, and executed
    unless `noexec`; below `listed` folders can be listed, and `devices` be read, written and controlled. No device file
    can be made, and what is already open stays open. `tcp_ports` are those that may be connected to; None leaves TCP
    alone, else nothing can be bound. `scoped` keeps signals and abstract sockets inside. With `lenient` a path that
    cannot be opened is left out. So are rights that the kernel does not know: `used` is the ABI that counts.
    """

    def __init__(
        self,
        read: Sequence[str],
        write: Sequence[str],
        *,
        listed: Sequence[str] = (),
        devices: Sequence[str] = (),
        scoped: bool = True,
        tcp_ports: Sequence[int] | None = (),
        noexec: bool = False,
        lenient: bool = False,
    ) -> None:
        offered = abi()
        self.used = min(offered, NEWEST_ABI)
        self._lenient = lenient
        handled = 2 * _NEWEST_RIGHT[self.used] - 1 if offered else 0
        self._attributes = _attributes(self.used, handled, ports=tcp_ports is not None, scoped=scoped)
        self._rights_to_write = (_WRITE if noexec else _WRITE | _EXECUTE) & handled
        self._granted = [
            *((path, (_READ | _EXECUTE) & handled) for path in read),
            *((path, _READ_DIR) for path in listed),
            *((path, (_READ | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV) & handled) for path in devices),
            *((path, self._rights_to_write) for path in write),
        ]
        self._ports = tuple(tcp_ports or ()) if self.used >= 4 else ()
        self._rule, self._ruleset = _PathBeneath(0, 0), ctypes.c_int()
        self._last = (
            kernel.to_prctl(kernel.PR_SET_NO_NEW_PRIVS, 1),
            kernel.to_call(_RESTRICT_SELF, self._ruleset, _NO_FLAGS),
        )
        self._adding = (self._ruleset, ctypes.c_int(_RULE_PATH_BENEATH), ctypes.pointer(self._rule), _NO_FLAGS)

    def enforce(self, also_write: Sequence[str] = ()) -> None:
        """Leave this thread, and all that it starts, only what was granted, for good; `also_write` besides.

        Nothing that is started from here on can gain privileges. Raises OSError if there is no Landlock here, or, with
        its name, for a path that cannot be opened.
        """
        if self.used == 0:
            raise OSError(errno.EOPNOTSUPP, "there is no Landlock in this kernel")
        self._ruleset.value = ruleset = kernel.system_call(_CREATE_RULESET, *self._attributes)
        try:
            for path, rights in self._granted:
                self._grant(path, rights)
            for path in also_write:
                self._grant(path, self._rights_to_write)
            for port in self._ports:
                rule = _NetPort(_CONNECT_TCP, port)
                kernel.system_call(_ADD_RULE, ruleset, _RULE_NET_PORT, ctypes.byref(rule), _NO_FLAGS)
            kernel.perform(self._last)
        finally:
            os.close(ruleset)

    def _grant(self, path: str, rights: int) -> None:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            if self._lenient:
                return
            raise
        try:
            self._rule.parent = descriptor
            self._rule.allowed = rights if stat.S_ISDIR(os.fstat(descriptor).st_mode) else rights & _ON_FILES
            kernel.system_call(_ADD_RULE, *self._adding)
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(descriptor)


def _attributes(used: int, files: int, *, ports: bool, scoped: bool) -> tuple[object, ...]:
    wanted = _RulesetAttributes(files=files)
    if ports and used >= 4:
        wanted.network = _BIND_TCP | _CONNECT_TCP
    if scoped and used >= 6:
        wanted.scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS
    # A kernel refuses a form that is longer than its own, unless the rest is zero; this holds for all of them.
    return ctypes.pointer(wanted), ctypes.c_size_t(ctypes.sizeof(wanted)), _NO_FLAGS
