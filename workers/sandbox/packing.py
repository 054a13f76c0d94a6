"""A run's workspace on its way through the wall: unpacked before the call, packed behind its answer, both inside.

It never decides whether what it packed is kept, and nobody outside reads what it packs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tarfile
import tempfile
from pathlib import Path
from typing import IO

VARIABLE = "ERRANDRY_WORKSPACE"
PREFIX = "errandry-workspace-"
# As much as a pipe holds: each read and write wakes the other side.
_BUFFER_BYTES = 1 << 16


def open_workspace(place: str, archive: IO[bytes] | None) -> str:
    """Have the workspace in the folder `place` (empty: one in TMPDIR) as `archive` holds it, and name it to the tool.

    Without an archive it is empty. Raises OSError or tarfile.TarError if it cannot be restored.
    """
    folder = place or tempfile.mkdtemp(prefix=PREFIX)
    Path(folder).mkdir(mode=0o700, exist_ok=True)
    os.environ[VARIABLE] = folder
    if archive is not None:
        with tarfile.open(fileobj=archive, mode="r|", bufsize=_BUFFER_BYTES) as stream:
            # Behind the wall an archive can do no more than the tool that filled it; this keeps its names inside, too.
            stream.extraction_filter = getattr(tarfile, "tar_filter", None)
            stream.extractall(folder)  # noqa: S202
    return folder


def pack_workspace(folder: str, archive: IO[bytes], *, own_processes: bool = False) -> None:
    """Write the folder as it is now to `archive`.

    Where a call has its processes to itself, those that the tool left running are ended first, for they could change it
    meanwhile.
    """
    if own_processes and os.getuid() != 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    # Names of users mean nothing behind the wall, and to ask for them loads a library in each call.
    for lookup in ("pwd", "grp"):
        setattr(tarfile, lookup, None)
    with tarfile.open(fileobj=archive, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BUFFER_BYTES) as stream:
        waiting = [""]
        while waiting:
            inner = waiting.pop()
            with os.scandir(f"{folder}/{inner}" if inner else folder) as entries:
                for entry in entries:
                    name = f"{inner}/{entry.name}" if inner else entry.name
                    # A thread that still runs may take a file away.
                    with contextlib.suppress(FileNotFoundError):
                        stream.add(entry.path, arcname=name, recursive=False)
                        waiting += [name] if entry.is_dir(follow_symlinks=False) else []
