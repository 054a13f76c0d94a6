"""The system calls that no tool gets: those whose memory no limit counts, and those that reach deep into the kernel.

It never lists what is allowed: namespaces and missing capabilities confine a tool, this is the second lock.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

from workers.sandbox.base import SandboxUnavailableError

# Memory of these is charged to nobody here: memfd files, System V shared memory, queues and semaphores.
_UNCOUNTED = ("memfd_create", "memfd_secret", "shmget", "msgget", "semget")
_DEEP = ("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd")
_KEYS = ("add_key", "request_key", "keyctl")


@dataclass(frozen=True)
class _Machine:
    audit_number: int
    numbers: dict[str, int]


_COMMON = {"memfd_secret": 447, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}
_X86_64 = _Machine(
    audit_number=0xC000003E,
    numbers=_COMMON
    | {"memfd_create": 319, "shmget": 29, "msgget": 68, "semget": 64, "bpf": 321, "perf_event_open": 298}
    | {"userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250},
)
_AARCH64 = _Machine(
    audit_number=0xC00000B7,
    numbers=_COMMON
    | {"memfd_create": 279, "shmget": 194, "msgget": 186, "semget": 190, "bpf": 280, "perf_event_open": 241}
    | {"userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219},
)
_MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4
# On x86-64 the same calls may be made by a second set of numbers, marked by this bit.
_SECOND_SET = 0x40000000


def filter_program(machine: str | None = None) -> bytes:
    """The filter in the kernel's form, for `bwrap --seccomp`; raises `SandboxUnavailableError` on unknown machines.

    A refused call fails with ENOSYS, as on a kernel that lacks it, so that libraries take their other way.
    """
    name = platform.machine() if machine is None else machine
    known = _MACHINES.get(name)
    if known is None:
        raise SandboxUnavailableError(
            f"There is no system call filter for {name} machines. Run this pool on {' or '.join(sorted(_MACHINES))}."
        )
    refused = [known.numbers[call] for call in (*_UNCOUNTED, *_DEEP, *_KEYS)]
    head = [
        _step(_LOAD, _ARCHITECTURE_OFFSET),
        _step(_JUMP_IF_EQUAL, known.audit_number, if_true=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_OFFSET),
        _step(_JUMP_IF_AT_LEAST, _SECOND_SET, if_true=len(refused) + 1),
    ]
    checks = [_step(_JUMP_IF_EQUAL, number, if_true=len(refused) - place) for place, number in enumerate(refused)]
    return b"".join([*head, *checks, _step(_RETURN, _ALLOW), _step(_RETURN, _ERRNO | errno.ENOSYS)])


def _step(code: int, operand: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
