"""Starts programs that do not outlive this process, even if it is killed with SIGKILL.

It never watches or restarts them. Outside Linux the kernel offers no such bond, and only an orderly stop ends them.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import IO

from queues import tethered


def spawn_tethered(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    output: IO[bytes] | int,
    death_signal: signal.Signals = signal.SIGKILL,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts `command` (its first word is an absolute path) in a session of its own, stdout and stderr to `output`.

    The session keeps a Ctrl-C in the terminal away from it. A command that cannot be executed says so in `output` and
    ends with status 1. May be called from any thread, also from one that soon ends.
    """
    script = [sys.executable, "-I", "-S", tethered.__file__, str(os.getpid()), str(int(death_signal)), *command]
    spawned: Future[subprocess.Popen[bytes]] = Future()

    def spawn() -> None:
        try:
            process = subprocess.Popen(  # noqa: S603  (no shell; the command is put together by our own code)
                script,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        except BaseException as error:
            spawned.set_exception(error)
        else:
            spawned.set_result(process)

    _spawning_thread(os.getpid()).put(spawn)
    return spawned.result()


@cache
def _spawning_thread(pid: int) -> queue.SimpleQueue[Callable[[], None]]:
    """The orders of the one thread that starts everything.

    Linux sends the death signal when the *thread* that forked ends, not the process; so a thread that never ends forks.
    The key is the process, because threads do not survive a fork.
    """
    orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            orders.get()()

    threading.Thread(target=work, name=f"spawning-{pid}", daemon=True).start()
    return orders
