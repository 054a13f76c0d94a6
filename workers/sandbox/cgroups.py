"""Limits that the kernel keeps for a whole call: one control group per call, made and removed by the supervisor.

It never judges a call and never counts on a right that it has not tried: where no group can be made, `watching` works
alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workers.sandbox.base import Limits
from workers.sandbox.cgroup_places import (
    NEEDED,
    PREFIX,
    bases_v2,
    is_left_over,
    mark_of,
    members_of,
    own_paths,
    read,
    write,
)

# One row for the whole process: the sandboxes of a worker share its mark.
_NUMBERS = itertools.count()
_CLOSING_SECONDS = 1


@dataclass(frozen=True)
class _Kind:
    """One version of the kernel's interface: what is written for the limits, and where the numbers are read."""

    name: Literal["v1", "v2"]
    written: Callable[[Limits], Sequence[tuple[str, str, int, bool]]]  # controller, file, value, must be there
    peak: tuple[str, ...]
    out_of_memory: tuple[str, tuple[str, ...]]
    cpu: tuple[str, str, str, float]  # controller, file, field, units in a second


V1 = _Kind(
    name="v1",
    written=lambda limits: (
        ("memory", "memory.limit_in_bytes", limits.memory_mb << 20, True),
        ("memory", "memory.memsw.limit_in_bytes", limits.memory_mb << 20, False),
        ("pids", "pids.max", limits.pids, True),
    ),
    peak=("memory.max_usage_in_bytes",),
    out_of_memory=("memory.oom_control", ("oom_kill", "under_oom")),
    cpu=("cpuacct", "cpuacct.usage", "", 1e9),
)
V2 = _Kind(
    name="v2",
    written=lambda limits: (
        ("memory", "memory.max", limits.memory_mb << 20, True),
        ("memory", "memory.swap.max", 0, False),
        # Whoever goes over the limit takes the whole call along, so that no half of it goes on.
        ("memory", "memory.oom.group", 1, True),
        ("pids", "pids.max", limits.pids, True),
    ),
    # memory.peak is younger than Linux 5.19; what is used now is the next best.
    peak=("memory.peak", "memory.current"),
    out_of_memory=("memory.events", ("oom_kill", "oom_group_kill")),
    cpu=("memory", "cpu.stat", "usage_usec", 1e6),
)


class CallGroup:
    """The group of one call; processes that its members start belong to it from their first moment."""

    def __init__(self, kind: _Kind, folders: Mapping[str, str | Path]) -> None:
        self.kind = kind
        self._folders = {controller: str(folder) for controller, folder in folders.items()}
        self._distinct = tuple(dict.fromkeys(self._folders.values()))
        self._peak_bytes = 0

    @property
    def folders(self) -> dict[str, Path]:
        """Where the group of each controller lies."""
        return {controller: Path(folder) for controller, folder in self._folders.items()}

    def add(self, pid: int) -> None:
        """Take the process in; do it before it reads its request. Raises OSError if it is gone."""
        for folder in self._distinct:
            write(f"{folder}/cgroup.procs", pid)

    def memory_peak_bytes(self) -> int:
        """The most that the whole call used at any one time, files in memory included."""
        readings = (_number(f"{self._folders['memory']}/{name}") for name in self.kind.peak)
        self._peak_bytes = max(self._peak_bytes, next((reading for reading in readings if reading is not None), 0))
        return self._peak_bytes

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel refused the call more memory by killing; under v1 the rest of the call still lives."""
        file, fields = self.kind.out_of_memory
        found = _fields(f"{self._folders['memory']}/{file}")
        return any(found.get(name.encode()) for name in fields)

    def cpu_seconds(self) -> float | None:
        """CPU time of all that ever ran in the group, ended or not; None where the kernel does not count it."""
        controller, file, name, unit = self.kind.cpu
        if controller not in self._folders:
            return None
        place = f"{self._folders[controller]}/{file}"
        used = _fields(place).get(name.encode()) if name else _number(place)
        return None if used is None else used / unit

    def pids_refused(self) -> bool:
        """Whether the call wanted more processes and threads than it may have."""
        return bool(_fields(f"{self._folders['pids']}/pids.events").get(b"max"))

    def limit(self, limits: Limits) -> None:
        """Make the group, empty; raises OSError if the kernel does not keep the limits."""
        for folder in self._distinct:
            os.mkdir(folder)  # noqa: PTH102 - for each call
        for controller, file, value, needed in self.kind.written(limits):
            try:
                write(f"{self._folders[controller]}/{file}", value)
            except OSError:
                if needed:
                    raise

    def kill(self) -> None:
        """Kill every member, faster than it can fork; a repeat does no harm."""
        _kill(self._distinct)

    def remove(self) -> bool:
        """Kill what is left and let go of the group; False while the kernel still ends a member: try again later."""
        # The kernel removes none that has a member, so one that is gone at once held nothing to kill.
        if _all_removed(self._distinct):
            return True
        self.kill()
        return _all_removed(self._distinct)


class CallGroups:
    """Where one supervisor makes its groups; safe to use from several threads at once."""

    def __init__(self, kind: _Kind, bases: Mapping[str, Path], *, proc: Path = Path("/proc")) -> None:
        self._kind = kind
        self._bases = {controller: str(base) for controller, base in bases.items()}
        self._name = mark_of(os.getpid(), proc=proc)
        self._stale: list[CallGroup] = []
        self._lock = threading.Lock()
        _sweep(set(bases.values()), proc)

    @property
    def kind(self) -> Literal["v1", "v2"]:
        """Which version of the kernel's interface it is."""
        return self._kind.name

    def create(self, limits: Limits) -> CallGroup:
        """An empty group with the limits set; raises OSError if the kernel does not keep them."""
        self._remove_stale()
        name = f"{self._name}-{next(_NUMBERS)}"
        group = CallGroup(self._kind, {controller: f"{base}/{name}" for controller, base in self._bases.items()})
        try:
            group.limit(limits)
        except OSError:
            group.remove()
            raise
        return group

    def remove(self, group: CallGroup) -> None:
        """Let go of a group, now or with the next one that is made, as soon as the kernel has ended its members."""
        if not group.remove():
            with self._lock:
                self._stale.append(group)

    def _remove_stale(self) -> None:
        if self._stale:
            with self._lock:
                self._stale = [group for group in self._stale if not group.remove()]

    def close(self) -> None:
        """Let go of everything; what the kernel holds on to for longer is swept by the next supervisor."""
        given_up_at = time.monotonic() + _CLOSING_SECONDS
        self._remove_stale()
        while self._stale and time.monotonic() < given_up_at:
            time.sleep(0.005)
            self._remove_stale()


def open_groups(*, proc: Path = Path("/proc")) -> CallGroups | None:
    """Groups below this process's own, so that limits around the worker go on holding; None if it may make none.

    It is tried out: a group is made, limited and removed. Groups of supervisors that died without a word are swept.
    """
    own = own_paths(proc)
    for kind, bases in ((V2, bases_v2(own, proc)), (V1, {name: own[name] for name in own if name != ""})):
        if all(controller in bases for controller in NEEDED):
            with contextlib.suppress(OSError):
                groups = CallGroups(kind, bases, proc=proc)
                groups.remove(groups.create(Limits()))
                return groups
    return None


def group_of(pid: int, *, proc: Path = Path("/proc")) -> CallGroup | None:
    """The group that somebody else made around a process, to be read only; None if its numbers cannot be had here."""
    with contextlib.suppress(OSError):
        own = own_paths(proc, who=str(pid))
        for kind, folders in ((V2, dict.fromkeys(NEEDED, own.get("", proc / "nowhere"))), (V1, own)):
            if all((folders.get("pids", proc) / name).exists() for name in ("pids.max", "cgroup.procs")):
                group = CallGroup(kind, folders)
                if "memory" in folders and group.memory_peak_bytes():
                    return group
    return None


def _sweep(bases: Iterable[Path], proc: Path) -> None:
    for base in bases:
        for folder in base.glob(f"{PREFIX}-*"):
            if is_left_over(folder.name, proc=proc):
                _kill([str(folder)])
                _removed(str(folder))


def _kill(folders: Sequence[str]) -> None:
    with contextlib.suppress(OSError):
        write(f"{folders[0]}/cgroup.kill", 1)
        return
    for folder in folders:
        with contextlib.suppress(OSError):
            # Without room for another process a fork bomb cannot outrun the loop below.
            write(f"{folder}/pids.max", 0)
    for folder in folders:
        for pid in members_of(Path(folder)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _all_removed(folders: Sequence[str]) -> bool:
    return sum(_removed(folder) for folder in folders) == len(folders)


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)  # noqa: PTH106 - for each call
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _number(file: str) -> int | None:
    try:
        return int(read(file))
    except (OSError, ValueError):
        return None


def _fields(file: str) -> dict[bytes, int]:
    """The numbers of a file that names them, one in each line; none if they cannot be read."""
    try:
        words = read(file).split()
        return dict(zip(words[::2], map(int, words[1::2]), strict=True))
    except (OSError, ValueError):
        return {}
