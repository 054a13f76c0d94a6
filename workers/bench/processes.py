"""What processes have used so far: CPU time of whole trees, memory of one; read from /proc, so on Linux only."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from workers.sandbox.watching import descendants, stat_fields

CAN_LOOK = sys.platform == "linux"
_TICKS = os.sysconf("SC_CLK_TCK")


def tree_cpu_seconds(pid: int) -> float:
    """Of a process and all below it, those that have ended and were waited for included."""
    ticks = 0
    for member in (pid, *descendants(pid)):
        with suppress(OSError):
            ticks += sum(map(int, stat_fields(member)[11:15]))
    return ticks / _TICKS


def resident_mb(pid: int) -> float:
    """The memory of one process that is in RAM, what it shares with others included."""
    return _megabytes(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """The most of it so far."""
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024
