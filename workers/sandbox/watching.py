"""What a process tree uses right now, read from /proc: processes, CPU time and memory, the whole tree together.

It never judges and never kills; it imports the standard library only, for the launcher uses it as well.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def children_of(pid: int) -> list[int]:
    """The processes that `pid` would be told the end of."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names only, many times a second
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as children:  # noqa: PTH123
                found += [int(child) for child in children.read().split()]
    return found


def descendants(pid: int) -> list[int]:
    """The living processes below `pid`, parents before children."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children_of(waiting.pop(0))
        found += below
        waiting += below
    return found


def kin_of(root: int, kin: str) -> list[int]:
    """All processes below the parent of `root`; only those of the process group of `root` if `kin` says so."""
    parent = _fields(root)[1:2]
    found = descendants(int(parent[0])) if parent else []
    return [pid for pid in found if kin != "group" or _fields(pid)[2:3] == [str(root)]]


def stat_fields(pid: int, *, proc: Path = Path("/proc")) -> list[str]:
    """What stands in /proc/PID/stat behind the name; raises OSError if the process is gone."""
    # A process names itself, in any bytes: none may end the look at it, and the fields count from the last parenthesis.
    return (proc / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()


def _fields(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return stat_fields(pid)
    return []


@dataclass
class Usage:
    """The most that was seen so far; grows with each look."""

    cpu_seconds: float = 0
    memory_bytes: int = 0
    tasks: int = 0
    processes: list[int] = field(default_factory=list)

    def look(self, root: int, *, memory_limit_bytes: int, kin: str = "") -> None:
        """Take `root` and the tree below it into account, as they are now.

        Where no namespace keeps them below it, processes whose parents have ended fall to the parent of `root`; its
        `kin` are then those of its group, or everything that its parent has.
        """
        self.processes = [root, *descendants(root)] if not kin else kin_of(root, kin)
        ticks = resident = tasks = 0
        for pid in self.processes:
            with contextlib.suppress(ValueError, IndexError):
                fields = _fields(pid)
                ticks += sum(int(word) for word in fields[11:15])
                tasks += int(fields[17])
                resident += int(fields[21]) * _PAGE
        if resident > memory_limit_bytes:
            # Pages that forked processes share count once here; shared libraries do not count at all.
            resident = sum(_own_bytes(pid) for pid in self.processes)
        self.cpu_seconds = max(self.cpu_seconds, ticks / _TICKS)
        self.memory_bytes = max(self.memory_bytes, resident)
        self.tasks = max(self.tasks, tasks)


def _own_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        return 0
    sizes = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
    if "Pss_Anon" not in sizes:
        return int(sizes.get("Pss", 0)) * 1024
    return (int(sizes["Pss_Anon"]) + int(sizes["Pss_Shmem"])) * 1024
