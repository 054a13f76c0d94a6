"""Runs a function in a forked child, so that what it does to its own process is gone with it.

It never lets the child fall through into the test, and never waits without a bound.
"""

import contextlib
import json
import os
import select
import signal
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 30


def in_child(attempt: Callable[[], object]) -> Any:
    """What `attempt` returned there, carried over as JSON; an OSError is its number, a signal its negative number."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(reading)
            os.write(writing, json.dumps(_answer(attempt)).encode())
            os._exit(0)
        os._exit(1)
    os.close(writing)
    try:
        heard = bool(select.select([reading], [], [], PATIENCE_SECONDS)[0])
        said = b"".join(iter(lambda: os.read(reading, 1 << 16), b"")) if heard else b""
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0 if heard else signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert heard, f"the child said nothing within {PATIENCE_SECONDS} s"
    if status < 0:
        return status
    assert said, f"the child ended with status {status} and no words"
    return json.loads(said)


def kill_own_child() -> int:
    """An attempt for `in_child`: how a child of its own ended that it has killed, negative for a signal."""
    child = os.fork()
    while child == 0:
        signal.pause()
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _answer(attempt: Callable[[], object]) -> object:
    try:
        return attempt()
    except OSError as error:
        return error.errno
