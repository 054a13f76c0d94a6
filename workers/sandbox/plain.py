"""No wall at all: the words that start a tool in an ordinary process, for pools that spell out `level = "none"`.

It never pretends: limits, a clean environment and another user are all that is left, and outcomes say level none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from workers.sandbox.launching import Identity


def identity_for(paths: Iterable[Path]) -> Identity:
    """Nobody for a root worker whose interpreter and project everybody can read; otherwise the worker's own user."""
    dropped = Identity.of_this_process()
    return dropped if all(_open_to_all(path) for path in paths) else Identity()


def _open_to_all(path: Path) -> bool:
    real = path.resolve()
    return all(os.stat(folder).st_mode & 0o001 for folder in (real, *real.parents))  # noqa: PTH116 - exact mode bits
