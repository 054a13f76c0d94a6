"""Loads a pool's tools in the zygote, so that calls find them there, and looks at what that has left behind.

It never loads a tool for one call alone, and it gives up rather than share a thread, a file or a process among calls.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from agent_core.tools.function import Function
from workers.sandbox.confinement import SCRATCH, SHARED_MEMORY
from workers.sandbox.runner import Loaded, tools_of

# Thread pools of native libraries do not live through a fork, and a second thread keeps a zygote cold.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class NotForkableError(Exception):
    """What importing the tools left behind cannot be handed to children."""


def preload(tools: Sequence[str], *, shared_scratch: bool = False) -> Loaded:
    """Import the tools and build all that a call needs of them; raises `NotForkableError` if that left more behind.

    A thread, a process or a descriptor cannot be handed to children, and files in the scratch are not theirs; in a
    `shared_scratch` those of others come and go.
    """
    before = _possessions(shared_scratch=shared_scratch)
    limited = [name for name in _ONE_THREAD if name not in os.environ]
    os.environ.update(dict.fromkeys(limited, "1"))
    loaded: dict[str, list[Function]] = {}
    for source, tool in tools_of(tools):
        loaded.setdefault(source, []).append(tool)
        tool.make_ready()
    for name in limited:
        os.environ.pop(name, None)
    for kind, found in _possessions(shared_scratch=shared_scratch).items():
        if found - before[kind]:
            raise NotForkableError(f"importing them leaves {kind} behind")
    return loaded


def _possessions(*, shared_scratch: bool) -> dict[str, set[str]]:
    found = {"threads": _names("/proc/self/task"), "open files": _names("/proc/self/fd")}
    if not shared_scratch:
        found["files in /tmp"] = _names(SCRATCH) | _names(SHARED_MEMORY)
    found["processes"] = set()
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        found["processes"].add("some")
    return found


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - names only
    except FileNotFoundError:
        return set()
