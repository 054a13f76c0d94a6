"""Looks at the processes of this machine from outside; never touches one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from workers.sandbox.watching import stat_fields


def process_ids() -> list[int]:
    """All processes but this one."""
    found = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return [pid for pid in found if pid != os.getpid()]


def processes() -> Iterator[tuple[int, str]]:
    """All other processes, with what their command lines and environments say."""
    for pid in process_ids():
        with contextlib.suppress(OSError):
            folder = Path(f"/proc/{pid}")
            yield pid, ((folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()).decode(errors="replace")


def processes_of(folder: Path) -> list[int]:
    """Every process that belongs to the folder, by its arguments or its environment; none that has started this one."""
    mine = _elders()
    return [pid for pid, shown in processes() if str(folder) in shown and pid not in mine]


def name_of(pid: int) -> str:
    """What a process is called; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def newest(pids: Iterable[int]) -> int:
    """Which of them was started last, of those that are still there; ValueError if none is."""
    started: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            started[pid] = int(stat_fields(pid)[19])
    return max(started, key=started.__getitem__)


def _elders() -> set[int]:
    found, pid = set[int](), os.getppid()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return found


def descendants(pids: Iterable[int]) -> list[int]:
    """Their children, and the children of those, as far as they live."""
    parents: dict[int, int] = {}
    for pid in process_ids():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[pid] = int(fields[1])
    found, elders = list[int](), set(pids)
    while elders:
        elders = {pid for pid, parent in parents.items() if parent in elders}
        found += sorted(elders)
    return found
