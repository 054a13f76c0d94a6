"""Waits for a condition with a bound, and looks at processes from outside.

It never sleeps for a time that a test relies on: only until something holds, or the bound is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def wait_until(condition: Callable[[], object], what: str, *, timeout_seconds: float = 30.0) -> None:
    """Returns as soon as `condition()` is true; fails the test with `what` after the bound."""
    if not comes_true(condition, timeout_seconds=timeout_seconds):
        raise AssertionError(f"waited {timeout_seconds:g} s in vain until {what}")


def comes_true(condition: Callable[[], object], *, timeout_seconds: float) -> bool:
    """True as soon as `condition()` is; False if it is not within the bound."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_running(pid: int) -> bool:
    """True while the process exists and has not ended; a zombie has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}
