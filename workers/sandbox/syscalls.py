"""The system calls that no tool gets, as filters for the kernel: namespaces, mounts, other processes, uncounted memory.

It never stands alone: namespaces or Landlock confine a tool, this is the lock behind them. It imports little, for the
sandboxed side installs what the worker has made.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import platform
from pathlib import Path

from agent_core.errors import ErrandryError
from workers.sandbox import kernel
from workers.sandbox.syscall_lists import (
    ABSENT,
    KEPT_TOGETHER,
    OF_ITSELF_ONLY,
    REFUSED,
    SHARED_MEMORY,
    STRICT,
    UNCOUNTED,
)
from workers.sandbox.syscall_numbers import MACHINES, machine
from workers.sandbox.syscall_program import Rule, Test, assemble

DEFAULT, STRICT_NAME = "default", "strict"
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_STEP_BYTES, _MOST_STEPS = 8, 4096

_UNIX, _INTERNET, _ROUTES = 1, (2, 10), 16
_STREAM, _DATAGRAM, _PACKETS, _TYPE_BITS = 1, 2, 5, 0xF
# Nothing, ICMP, TCP, UDP, ICMPv6: other protocols are code of the kernel's that hardly anybody uses.
_PROTOCOLS = (0, 1, 6, 17, 58)
# All CLONE_NEW… flags, and CLONE_PARENT: the new process would be a sibling, out of sight of who watches this one.
_NAMESPACES_OR_SIBLING = 0x7E020000 | 0x8000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# Linux, its 32-bit face, an older version's name, and the question which it is; none that makes all memory executable.
_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)


class FilterError(ErrandryError):
    """There is no such filter; the sentence says why, and what can be done."""


def filter_program(
    policy: str = DEFAULT,
    *,
    level: str = "ns",
    counted_memory: bool = False,
    network: bool = False,
    machine_name: str | None = None,
) -> bytes:
    """The filter of a pool in the kernel's form; raises `FilterError`.

    `policy` is default, strict (only what an interpreter, a shell and programs like git need) or the path of a compiled
    filter. Where calls share namespaces (level shared) shared memory of System V is refused as well, and settings of
    other processes; without any namespace (level landlock) also leaving the call's process group, and sockets, unless
    the pool has the `network`. `counted_memory` says that a cgroup counts memory that belongs to no process.

    What libraries try first and can do without fails with ENOSYS, as on an older kernel; the rest with EPERM.
    """
    if policy not in (DEFAULT, STRICT_NAME):
        return _own_filter(policy, level)
    name = platform.machine() if machine_name is None else machine_name
    known = machine(name)
    if known is None:
        raise FilterError(
            f"There is no system call filter for {name} machines. Run this pool on {' or '.join(MACHINES)}."
        )
    rules = _rules(level=level, counted_memory=counted_memory, network=network, strict=policy == STRICT_NAME)
    by_number = {number: _rule_for(name, rules, policy) for name, number in known.numbers.items()}
    return assemble(by_number, audit_number=known.audit_number, unknown_error=errno.ENOSYS)


def _own_filter(path: str, level: str) -> bytes:
    if level == "landlock":
        raise FilterError(
            f'seccomp = "{path}" cannot be had at level landlock, where the filter is a part of the wall. '
            'Set seccomp to "default" or "strict", or run this pool where user namespaces are allowed.'
        )
    try:
        program = Path(path).read_bytes()
    except OSError as error:
        raise FilterError(f"The system call filter {path} cannot be read: {error.strerror or error}.") from error
    if not program or len(program) % _STEP_BYTES or len(program) // _STEP_BYTES > _MOST_STEPS:
        raise FilterError(
            f"{path} is no compiled system call filter: it must hold 1 to {_MOST_STEPS} steps of {_STEP_BYTES} bytes, "
            "as seccomp_export_bpf writes them."
        )
    return program


def _rule_for(name: str, rules: dict[str, Rule], policy: str) -> Rule | None:
    if policy == STRICT_NAME and name not in STRICT:
        return rules.get(name) if name in ABSENT else Rule(errno.EPERM)
    return rules.get(name)


def _rules(*, level: str, counted_memory: bool, network: bool, strict: bool) -> dict[str, Rule]:
    rules = dict.fromkeys(REFUSED, Rule(errno.EPERM)) | dict.fromkeys(ABSENT, Rule(errno.ENOSYS))
    rules |= {
        "clone": Rule(errno.EPERM, ((Test(0, (0,), mask=_NAMESPACES_OR_SIBLING),),)),
        "ioctl": Rule(errno.EPERM, ((Test(1, (_TIOCSTI, _TIOCLINUX), negated=True),),)),
        "personality": Rule(errno.EPERM, ((Test(0, _PERSONALITIES),),)),
        "socket": _sockets(level=level, network=network, strict=strict),
        "socketpair": Rule(errno.EAFNOSUPPORT, ((Test(0, (_UNIX,)),),)),
    }
    if not counted_memory:
        rules |= dict.fromkeys(UNCOUNTED, Rule(errno.ENOSYS))
    if not counted_memory or level != "ns":
        rules |= dict.fromkeys(SHARED_MEMORY, Rule(errno.ENOSYS))
    if level != "ns":
        rules |= _beside_others()
    if level == "landlock":
        rules |= _without_namespaces(network=network)
    return rules


def _sockets(*, level: str, network: bool, strict: bool) -> Rule:
    """Strict pools without a network get no socket at all, nor do those without a network namespace of their own."""
    alone = level == "landlock"
    if (alone or strict) and not network:
        return Rule(errno.EPERM)
    types, protocols = Test(1, (_STREAM, _DATAGRAM), mask=_TYPE_BITS), Test(2, _PROTOCOLS)
    clauses = [(Test(0, _INTERNET), types, protocols), (Test(0, (_ROUTES,)), Test(2, (0,)))]
    if not alone:
        clauses.append((Test(0, (_UNIX,)),))
    return Rule(errno.EAFNOSUPPORT, tuple(clauses))


def _beside_others() -> dict[str, Rule]:
    """Settings of processes that a call shares its user with and has in sight: it may change its own alone."""
    itself = Test(0, (0,))
    rules = dict.fromkeys(OF_ITSELF_ONLY, Rule(errno.EPERM, ((itself,),)))
    reads_only = (Test(2, (0,)), Test(2, (0,), upper_half=True))
    return rules | {
        "prlimit64": Rule(errno.EPERM, ((itself,), reads_only)),
        "setpriority": Rule(errno.EPERM, ((itself, Test(1, (0,))),)),
        "ioprio_set": Rule(errno.EPERM, ((Test(0, (1,)), Test(1, (0,))),)),
    }


def _without_namespaces(*, network: bool) -> dict[str, Rule]:
    """What keeps a call together, and away from this machine's services, where no namespace does."""
    refused = Rule(errno.EPERM)
    # A pair of datagram sockets could be connected anew, to a socket of this machine's services.
    pairs = (Test(0, (_UNIX,)), Test(1, (_STREAM, _PACKETS), mask=_TYPE_BITS))
    rules = dict.fromkeys(KEPT_TOGETHER, refused) | {"socketpair": Rule(errno.EAFNOSUPPORT, (pairs,))}
    if not network:
        rules |= dict.fromkeys(("connect", "bind", "listen", "accept", "accept4"), refused)
    return rules


def policy_name(policy: str, program: bytes) -> str:
    """What is reported with each result: the policy, and by the digest exactly which filter it was."""
    known = policy if policy in (DEFAULT, STRICT_NAME) else Path(policy).name
    return f"{known}:{hashlib.sha256(program).hexdigest()[:12]}"


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def to_install(program: bytes) -> list[kernel.Act]:
    """What `install` does, later."""
    filled = _Program(len(program) // _STEP_BYTES, program)
    return [
        kernel.to_prctl(kernel.PR_SET_NO_NEW_PRIVS, 1),
        kernel.to_prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.pointer(filled)),
    ]


def install(program: bytes) -> None:
    """Put this thread, and all that it starts, under the filter for good; OSError if the kernel refuses it.

    Nothing that is started from here on can gain privileges, which the kernel asks of whoever brings a filter.
    """
    kernel.perform(to_install(program))
