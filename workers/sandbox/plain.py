"""No wall at all: the words that start a tool in an ordinary process, for pools that spell out `level = "none"`.

It never pretends: limits, a clean environment and another user are all that is left, and outcomes say level none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from workers.sandbox.children import Child, new_ends
from workers.sandbox.launching import Identity, Launcher


def identity_for(paths: Iterable[Path]) -> Identity:
    """Nobody for a root worker whose interpreter and project everybody can read; otherwise the worker's own user."""
    dropped = Identity.of_this_process()
    return dropped if all(_open_to_all(path) for path in paths) else Identity()


def _open_to_all(path: Path) -> bool:
    real = path.resolve()
    return all(os.stat(folder).st_mode & 0o001 for folder in (real, *real.parents))  # noqa: PTH116 - exact mode bits


class PlainProcesses:
    """A new process for each call, straight from the launcher; it imports the pool's tools itself."""

    def __init__(self, launcher: Launcher, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._launcher = launcher
        self._argv = argv
        self._environment = environment

    def take(self) -> Child:
        """A process that is being started; what comes of that is news of its call."""
        ends = new_ends()
        fds = [ends.stdout, ends.stderr, ends.request, ends.answer]
        child = ends.child
        try:
            news = self._launcher.order(self._argv, environment=self._environment, fds=fds, walled=False)
        except BaseException:
            child.close()
            raise
        finally:
            ends.close()
        child.news.close()
        child.news = news
        return child

    def close(self) -> None:
        """Nothing is kept."""
