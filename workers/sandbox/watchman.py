"""A small process beside a worker that removes the worker's containers when it dies without a word.

It never touches a container that does not bear the worker's mark.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile

from workers.sandbox.cgroup_places import mark_of
from workers.sandbox.engines import Engine, client_environment

END_SECONDS = 20
# Waits for the end of its stdin, which the worker holds, and removes what bears its mark.
_WATCHMAN = """
import shutil, subprocess, sys, time
folder, engine, mark, *removing = sys.argv[1:]
sys.stdin.read()
for _ in range(20):
    found = subprocess.run([engine, "ps", "-aq", "--filter", "name=" + mark], capture_output=True, text=True).stdout
    if not found.split():
        break
    subprocess.run([engine, *removing, *found.split()], capture_output=True)
    time.sleep(0.2)
shutil.rmtree(folder, ignore_errors=True)
"""


class Watchman:
    """Started with the first container, and gone with the last; it needs nothing that the worker could take along.

    `folder` is where the engine's programs are to run: podman's monitor drops an empty file into its current folder
    when a container runs out of memory.
    """

    def __init__(self, engine: Engine) -> None:
        self.folder = tempfile.mkdtemp(prefix="errandry-engine-")
        words = [self.folder, str(engine.program), mark_of(os.getpid()), *engine.removing]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and words
            [sys.executable, "-I", "-S", "-c", _WATCHMAN, *words],
            env=client_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Have it remove what is left now, and wait for that with a bound; a repeat does nothing."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
