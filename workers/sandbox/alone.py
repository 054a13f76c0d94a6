"""Steps of a call that has no namespaces of its own: what its process does in their place, from inside.

It imports the standard library only, and never goes on after a step that failed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator, Sequence

from workers.sandbox import kernel
from workers.sandbox.aftermath import scratch_of
from workers.sandbox.watching import stat_fields

# What programs take for granted, on this machine's /dev as well.
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
TERMINALS = ("/dev/tty", "/dev/ptmx", "/dev/pts")


def examinable() -> None:
    """Undo what is the zygote's alone: its own /proc is closed to it, and it does not heed Ctrl-C."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def own_scratch(scratch: str) -> None:
    """A folder in the zygote's that is this call's alone, named after its process; HOME and TMPDIR point to it."""
    place = scratch_of(scratch, os.getpid())
    os.mkdir(place, 0o700)  # noqa: PTH102 - light
    os.environ.update(HOME=place, TMPDIR=place)


def counted_by_user(pids: int) -> None:
    """Let this user run so many processes and threads more than now; that is all that the kernel can count here.

    What other calls start or end meanwhile shifts the count, and it has no effect on root, which a call never is.
    """
    limit = sum(_threads_of(os.getuid())) + pids
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def _threads_of(uid: int) -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - names only
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                if os.stat(f"/proc/{name}").st_uid == uid:  # noqa: PTH116
                    yield int(stat_fields(int(name))[17])


def there(paths: Sequence[str]) -> list[str]:
    """Those of the paths that exist."""
    return [path for path in paths if os.path.exists(path)]  # noqa: PTH110 - light
