"""Where a supervisor may make control groups, and by which mark its own are known from those of others.

It never makes a group for a call; `cgroups` does.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.sandbox.watching import stat_fields

# The leaf that a version 2 supervisor moves to: a group with processes of its own cannot limit groups below it.
SUPERVISORS_LEAF = "supervisor"
PREFIX = "errandry"
NEEDED = ("memory", "pids")
_SMALL_BYTES = 1 << 14


def own_paths(proc: Path, *, who: str = "self") -> dict[str, Path]:
    """Where the process's group of each controller lies; "" is version 2's."""
    of_controller: dict[str, str] = {}
    for line in (proc / who / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        of_controller |= dict.fromkeys(controllers.split(","), path)
    found: dict[str, Path] = {}
    for line in (proc / "self/mountinfo").read_text().splitlines():
        words, _, rest = line.partition(" - ")
        (root, place), (kind, _, options) = words.split()[3:5], rest.split()[:3]
        names = {"cgroup": set(options.split(",")) & {*NEEDED, "cpuacct"}, "cgroup2": {""}}.get(kind, set())
        for name in names & of_controller.keys():
            with contextlib.suppress(ValueError):
                found[name] = Path(place) / Path(of_controller[name]).relative_to(root)
    return found


def bases_v2(own: Mapping[str, Path], proc: Path) -> dict[str, Path]:
    """Below which folder groups of version 2 can be made, for each controller; empty if they cannot."""
    base = own.get("")
    if base is None:
        return {}
    if base.name == SUPERVISORS_LEAF:
        base = base.parent
    try:
        if set(NEEDED) <= set((base / "cgroup.controllers").read_text().split()):
            hand_down(base, proc=proc)
            return dict.fromkeys(NEEDED, base)
    except OSError:
        pass
    return {}


def hand_down(base: Path, *, controllers: Sequence[str] = NEEDED, proc: Path = Path("/proc")) -> None:
    """Have `base` limit the groups below it; OSError if that is not ours to decide."""
    switch, wanted = base / "cgroup.subtree_control", " ".join(f"+{name}" for name in controllers)
    if set(controllers) <= set(switch.read_text().split()):
        return
    try:
        write(switch, wanted)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        members = members_of(base)
        if not all(pid == os.getpid() or _parent_of(pid, proc) == os.getpid() for pid in members):
            raise
        leaf = base / SUPERVISORS_LEAF
        leaf.mkdir(exist_ok=True)
        for pid in members:
            write(leaf / "cgroup.procs", pid)
        write(switch, wanted)


def _parent_of(pid: int, proc: Path) -> int:
    return int(stat_fields(pid, proc=proc)[1])


def mark_of(pid: int, *, proc: Path = Path("/proc")) -> str:
    """A supervisor's mark: its number alone would name another process after a while, or in another container."""
    started = stat_fields(pid, proc=proc)[19]
    return f"{PREFIX}-{(proc / 'self/ns/pid').stat().st_ino}-{pid}-{started}"


def is_left_over(name: str, *, proc: Path = Path("/proc")) -> bool:
    """Whether what is named by a mark and a number belonged to a supervisor of this machine that is dead."""
    mark = name.rpartition("-")[0]
    if not mark.startswith(f"{PREFIX}-{(proc / 'self/ns/pid').stat().st_ino}-"):
        return False
    with contextlib.suppress(OSError, ValueError, IndexError):
        return mark != mark_of(int(mark.split("-")[2]), proc=proc)
    return True


def members_of(folder: Path) -> list[int]:
    """The processes of a group, as far as they have numbers here."""
    try:
        return [int(word) for word in (folder / "cgroup.procs").read_text().split() if word != "0"]
    except OSError:
        return []


def write(file: str | Path, value: object) -> None:
    """Write to a file of the kernel's, which is never made by that; raises OSError as the kernel says."""
    fd = os.open(file, os.O_WRONLY)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def read(file: str) -> bytes:
    """What a small file of the kernel's says, all of it at one go; raises OSError as the kernel says."""
    fd = os.open(file, os.O_RDONLY)
    try:
        return os.read(fd, _SMALL_BYTES)
    finally:
        os.close(fd)
