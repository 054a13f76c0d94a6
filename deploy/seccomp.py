"""Writes seccomp.json, the system call filter of a container in which a tool worker makes namespaces of its own.

python3 deploy/seccomp.py > deploy/seccomp.json

Made from the product's own reviewed tables: all calls that are known and not refused to tools, and those that put up a
wall of level ns. Everything else is refused; what no table knows is ENOSYS, so that libraries take another way.
Docker's own default refuses the calls of `WALL`, and with them levels ns and shared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from workers.sandbox.syscall_lists import ABSENT, REFUSED
from workers.sandbox.syscall_numbers import MACHINES, machine

# What bubblewrap and the processes of a wall call: namespaces, their mounts, a new root, a name of their own.
WALL = frozenset(["clone", "clone3", "unshare", "setns", "mount", "umount2", "pivot_root", "sethostname"])
# The kernel asks the caller's own user namespace for the rights that these need, so a worker without capabilities gets
# no further with them than with what it may do anyway.
ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
# Linux itself, with or without random addresses, and the question; others undo protections of memory.
PERSONALITIES = (0x0, 0x20000, 0x40000, 0xFFFFFFFF)
AF_VSOCK = 40  # speaks to the machine's hypervisor, past every network that the container is kept to
_EPERM, _ENOSYS = 1, 38


def allowed() -> frozenset[str]:
    """The calls that pass, whatever their arguments; two more pass with some."""
    known = frozenset[str]().union(*(found.numbers for name in MACHINES if (found := machine(name))))
    return (known - ABSENT - REFUSED - {"personality", "socket"}) | WALL


def profile() -> dict[str, object]:
    """The filter as container engines read it."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": [ARCHITECTURES[name] for name in MACHINES],
        "syscalls": [
            _rule(allowed(), "SCMP_ACT_ALLOW"),
            _rule(["socket"], "SCMP_ACT_ALLOW", args=[_argument(AF_VSOCK, "SCMP_CMP_NE")]),
            *(
                _rule(["personality"], "SCMP_ACT_ALLOW", args=[_argument(value, "SCMP_CMP_EQ")])
                for value in PERSONALITIES
            ),
            _rule(REFUSED - WALL, "SCMP_ACT_ERRNO", errnoRet=_EPERM),
        ],
    }


def _rule(names: Iterable[str], action: str, **more: object) -> dict[str, object]:
    return {"names": sorted(names), "action": action, **more}


def _argument(value: int, comparison: str) -> dict[str, object]:
    return {"index": 0, "value": value, "op": comparison}


def main() -> None:
    """Print the file."""
    sys.stdout.write(json.dumps(profile(), indent=1) + "\n")


if __name__ == "__main__":
    main()
