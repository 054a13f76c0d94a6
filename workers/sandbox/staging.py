"""What a root worker's launcher does before it gives root up: carry folders past closed doors, then change its user.

It never runs in the worker itself: both steps change the process for good. All its imports are light.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from workers.sandbox.lending import is_closed, lend

# A folder that exists everywhere and that no sandbox uses; covered in a mount namespace of the launcher's own.
STAGE = "/sys"
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    if libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"mount on {target}")


def stage(paths: list[str], *, uid: int, gid: int) -> None:
    """Show each path as `/sys/<its number>` in a mount namespace of this process's own, whatever folders lie above it.

    With it a user who may not enter root's home can still be given the interpreter that lies there. A path that is
    itself closed to others is lent to `uid`, as a worker of its owner would read it; where the kernel
    cannot do that it stays closed, and the sandbox is refused with the reason.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "unshare(CLONE_NEWNS)")
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", STAGE, "tmpfs", 0, "mode=0755,size=1m")
    for number, path in enumerate(paths):
        place = Path(STAGE, str(number))
        if Path(path).is_dir():
            place.mkdir(mode=0o755)
        else:
            place.touch(mode=0o644)
        try:
            if is_closed(Path(path)):
                lend(path, str(place), uid=uid, gid=gid)
                continue
        except OSError:
            pass  # an old kernel, or a file system that cannot
        _mount(path, str(place), None, _MS_BIND | _MS_REC)


def drop_privileges(uid: int, gid: int) -> None:
    """Become an ordinary user for good; nothing that is started from here on can gain a privilege."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid):
        raise OSError("the user id did not change")
