"""What a process calls itself never keeps it from being looked at."""

import ctypes
import os
import signal
from collections.abc import Iterator

import pytest

from workers.sandbox.watching import Usage, kin_of

_PR_SET_NAME = 15


@pytest.fixture(params=[b"\xff\xfe", b") R 1 1", b"a b"])
def named(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process with a name that is no text, or that looks like the fields behind it."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, request.param, 0, 0, 0)
        os.write(told, b"1")
        signal.pause()
    os.read(ready, 1)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(told)


def test_a_name_hides_nothing(named: int) -> None:
    usage = Usage()
    usage.look(named, memory_limit_bytes=1 << 40)

    assert usage.tasks == 1
    assert usage.memory_bytes > 0
    assert named in kin_of(named, "")
