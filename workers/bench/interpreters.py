"""Fresh interpreters that run a few lines and say what these cost them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_AROUND = """
import resource, time
{lines}
print(time.process_time())
try:
    # What the other call says is never less than the parent had when it started this interpreter.
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")))
except OSError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
_SECONDS = 60


@dataclass(frozen=True)
class Loaded:
    """What the process took until the end of the lines: CPU time, and the most memory that it had in RAM."""

    cpu_seconds: float
    resident_mb: float


def run_fresh(lines: str, *, bytecode: Path) -> Loaded:
    """Run the lines in a new interpreter. As in an installation, modules are compiled once, into `bytecode`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    printed = subprocess.check_output(  # noqa: S603  (no shell; the lines are our own)
        [sys.executable, "-P", "-c", _AROUND.format(lines=lines)], env=environment, text=True, timeout=_SECONDS
    )
    cpu_seconds, most = printed.split()
    return Loaded(float(cpu_seconds), float(most))
