"""The machine that figures were taken on: what they depend on, and nothing by which it could be found."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_PACKAGES = ("errandry", "celery", "kombu", "redis", "openai", "pydantic")
_SAME = ("system", "processor", "cores", "memory_mb", "python", "sandbox_level", "server")


class Machine(BaseModel):
    """What the figures depend on. The load is the mean number of processes that wanted a core in the last minute."""

    model_config = ConfigDict(frozen=True)

    system: str
    processor: str
    cores: int
    memory_mb: int
    python: str
    versions: dict[str, str]
    server: str = ""
    sandbox_level: str = ""
    load_before: float
    load_after: float

    def differences(self, other: Machine) -> list[str]:
        """In words, what of the other one is not as here; what is not known of one of them is no difference."""
        return [
            f"{field} {getattr(other, field)} instead of {getattr(self, field)}"
            for field in _SAME
            if getattr(self, field) and getattr(other, field) and getattr(self, field) != getattr(other, field)
        ]


def load() -> float:
    """The load of the last minute."""
    return round(os.getloadavg()[0], 2)


def this_machine(*, server: Mapping[str, str], sandbox_level: str, load_before: float) -> Machine:
    """The machine at hand, once the benchmarks are done."""
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions={name: version(name) for name in _PACKAGES},
        server=" ".join(server.values()),
        sandbox_level=sandbox_level,
        load_before=load_before,
        load_after=load(),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
