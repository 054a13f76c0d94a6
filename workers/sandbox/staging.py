"""What a root worker's launcher does before it gives root up: carry folders past closed doors, then change its user.

It never runs in the worker itself: both steps change the process for good. All its imports are light.
"""

from __future__ import annotations

import os
from pathlib import Path

from workers.sandbox import kernel
from workers.sandbox.lending import is_closed, lend

# A folder that exists everywhere and that no sandbox uses; covered in a mount namespace of the launcher's own.
STAGE = "/sys"


def stage(paths: list[str], *, uid: int, gid: int) -> None:
    """Show each path as `/sys/<its number>` in a mount namespace of this process's own, whatever folders lie above it.

    With it a user who may not enter root's home can still be given the interpreter that lies there. A path that is
    itself closed to others is lent to `uid`, as a worker of its owner would read it; where the kernel
    cannot do that it stays closed, and the sandbox is refused with the reason.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", STAGE, "tmpfs", 0, "mode=0755,size=1m")
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
        kernel.mount(path, str(place), None, kernel.MS_BIND | kernel.MS_REC)


def drop_privileges(uid: int, gid: int) -> None:
    """Become an ordinary user for good; nothing that is started from here on can gain a privilege."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid):
        raise OSError("the user id did not change")
