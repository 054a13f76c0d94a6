"""Makes this process and all that it starts live as in a container: its kernel refuses namespaces and mounts.

It is a real refusal, by a filter of this process's own, and cannot be taken back.
"""

import errno
import os

from workers.sandbox.syscall_numbers import machine
from workers.sandbox.syscall_program import Rule, Test, assemble
from workers.sandbox.syscalls import install

_NAMESPACES, _NEW_PID = 0x7E020000, 0x20000000
_MOUNTS = ("mount", "umount2", "pivot_root", "setns", "open_tree", "move_mount", "fsopen", "fsmount", "mount_setattr")


def refuse_namespaces() -> None:
    """As Docker's default filter does: no new namespace of any kind, and no mount."""
    flags = Rule(errno.EPERM, ((Test(0, (0,), mask=_NAMESPACES),),))
    rules = {"unshare": flags, "clone": flags, "clone3": Rule(errno.ENOSYS)}
    _install(rules | dict.fromkeys(_MOUNTS, Rule(errno.EPERM)))


def refuse_namespaces_below() -> None:
    """As a profile does that lets bubblewrap make namespaces, and nobody below it: only `clone` makes new ones."""
    _install({"unshare": Rule(errno.EPERM, ((Test(0, (0,), mask=_NEW_PID),),))})


def _install(rules: dict[str, Rule]) -> None:
    known = machine(os.uname().machine)
    assert known is not None
    numbers: dict[int, Rule | None] = dict.fromkeys(range(1000))
    numbers |= {known.numbers[name]: rule for name, rule in rules.items() if name in known.numbers}
    install(assemble(numbers, audit_number=known.audit_number, unknown_error=errno.ENOSYS))
