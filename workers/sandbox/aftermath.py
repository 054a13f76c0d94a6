"""What a zygote does after a call that no namespace took its traces along from: its processes, and its scratch.

It imports the standard library only, and never believes that nothing is left: it looks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Sequence

from workers.sandbox import kernel

SCRATCH_PREFIX = "errandry-scratch-"
# Within this time a killed process is gone, and what it left is wiped, or the zygote goes as well.
SWEEP_SECONDS = 0.5
# How often the scratches of running calls are looked at, where only looking limits them.
LOOK_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 0.001
_PATIENT_SECONDS = 300
_ATTEMPTS = 5


def adopt_orphans() -> None:
    """Processes that lost their parents fall to this one, as to the first of a namespace; it ends with the launcher."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)


def open_scratch(parent: str) -> str:
    """A new folder for the scratches of calls, locked while this process lives; what dead ones left is removed."""
    for name in os.listdir(parent):  # noqa: PTH208 - names only
        path = f"{parent}/{name}"
        if name.startswith(SCRATCH_PREFIX):
            with contextlib.suppress(OSError):
                if os.stat(path).st_uid == os.getuid() and (lock := _locked(path)) is not None:  # noqa: PTH116
                    os.close(lock)
                    _remove_beside(path)
    for _ in range(_ATTEMPTS):
        path = tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=parent)
        # Somebody who tidies up could have come between.
        with contextlib.suppress(FileNotFoundError):
            if _locked(path) is not None and os.path.isdir(path):  # noqa: PTH112 - light
                return path
    raise OSError(f"no folder for scratch can be made in {parent}")


def _locked(path: str) -> int | None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def scratch_of(scratch: str, pid: int) -> str:
    """Where a call finds its folder in the zygote's scratch."""
    return f"{scratch}/{pid}"


class Aftermath:
    """What becomes of a call's traces after its end: `group` or `everything` says how its processes are found."""

    def __init__(self, kind: str, *, scratch: str = "", places: Sequence[str] = (), kept: Sequence[str] = ()) -> None:
        self._kind = kind
        self._scratch = scratch
        self._places = tuple(places)
        self._kept = tuple(kept)
        self._removing: list[int] = []

    def overfull(self, pid: int, *, megabytes: int, inodes: int) -> bool:
        """Whether the call's own folder holds more than it may: nothing else limits it where it lies."""
        if not self._scratch:
            return False
        left_bytes, left = megabytes << 20, inodes
        folders = [scratch_of(self._scratch, pid)]
        while folders and left_bytes >= 0 and left >= 0:
            with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return True
                    with contextlib.suppress(OSError):
                        left_bytes -= entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        return left_bytes < 0 or left < 0

    def end(self, pid: int) -> None:
        """Kill what the call started, while its own process, dead but not reaped, still holds its number."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._kind == "everything":
                os.kill(-1, signal.SIGKILL)
            else:
                os.killpg(pid, signal.SIGKILL)

    def clean(self, pid: int) -> bool:
        """Reap what was killed, and wipe what the next call will find; False if something is left by then."""
        until = time.monotonic() + SWEEP_SECONDS
        if not self._reaped(-1 if self._kind == "everything" else -pid, until):
            return False
        return all(wipe(place, until=until, kept=self._kept) for place in self._places)

    def tidy(self, pid: int) -> None:
        """Have the folder that was the call's own removed: by a process beside this one, for a disk may be slow.

        Nobody waits for it, since no other call will find it; its number may be given to another call at once.
        """
        if not self._scratch:
            return
        self._removing = [one for one in self._removing if os.waitpid(one, os.WNOHANG)[0] == 0]
        scratch = scratch_of(self._scratch, pid)
        with contextlib.suppress(OSError):
            os.rmdir(scratch)  # noqa: PTH106 - most calls leave nothing
            return
        with contextlib.suppress(OSError):
            given_up = f"{scratch}-{os.urandom(8).hex()}"
            os.chmod(scratch, 0o700)  # noqa: PTH101
            os.rename(scratch, given_up)  # noqa: PTH104
            self._removing.append(_remove_beside(given_up))

    def _reaped(self, whom: int, until: float) -> bool:
        while time.monotonic() < until:
            try:
                if os.waitpid(whom, os.WNOHANG)[0] == 0:
                    time.sleep(_LOOK_AGAIN_SECONDS)
                    self.end(-whom)  # one that was being forked just then
            except ChildProcessError:
                return True
        return False


def _remove_beside(path: str) -> int:
    pid = os.fork()
    if pid == 0:
        # Nothing of this process's may be kept open by one that outlasts a call.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        remove(path, until=time.monotonic() + _PATIENT_SECONDS)
        os._exit(0)
    return pid


def remove(path: str, *, until: float) -> bool:
    """Remove a folder with all that is in it; False if that fails, or takes too long. Nobody may be at work there."""
    try:
        os.chmod(path, 0o700)  # noqa: PTH101 - light
        if not wipe(path, until=until):
            return False
        os.rmdir(path)  # noqa: PTH106
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def wipe(place: str, *, until: float, kept: Sequence[str] = ()) -> bool:
    """Empty a folder but for what is `kept` in it; False if that fails, or takes too long.

    It goes down step by step in the current folder, which it leaves as it was: no depth is too great, no path too long.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    back = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        _enter(place, flags)
        path, folders = [place], [_unlinked(place, kept, until)]
        while True:
            if folders[-1]:
                name = folders[-1][-1]
                os.chmod(name, 0o700)  # noqa: PTH101 - light
                _enter(name, flags)
                path.append(name)
                folders.append(_unlinked("/".join(path) if kept else "", kept, until))
                continue
            folders.pop()
            if not folders:
                return True
            os.chdir("..")
            name = path.pop()
            folders[-1].pop()
            if not any(one.startswith(f"{'/'.join([*path, name])}/") for one in kept):
                os.rmdir(name)  # noqa: PTH106
    except (OSError, TimeoutError):
        return False
    finally:
        os.fchdir(back)
        os.close(back)


def _enter(name: str, flags: int) -> None:
    fd = os.open(name, flags)
    try:
        os.fchdir(fd)
    finally:
        os.close(fd)


def _unlinked(path: str, kept: Sequence[str], until: float) -> list[str]:
    """Take what is no folder out of the current one; the folders in it, without those that are kept."""
    folders = []
    with os.scandir(".") as entries:
        for entry in entries:
            if time.monotonic() > until:
                raise TimeoutError
            if f"{path}/{entry.name}" in kept:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name)  # noqa: PTH108
    return folders
