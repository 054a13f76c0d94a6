"""Writes the starter project into a folder; never overwrites anything."""

from __future__ import annotations

import shutil
from pathlib import Path

from agent_core.errors import ErrandryError

_TEMPLATE = Path(__file__).parent / "template"
_KEPT_ENTRIES = {".git"}


class FolderInUseError(ErrandryError):
    """The folder cannot take a new project."""


def write_project(folder: Path) -> list[Path]:
    """Write the starter's files into `folder` and return their paths.

    FolderInUseError, with nothing written, if the folder holds anything but a fresh repository, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = sorted(entry.name for entry in folder.iterdir() if entry.name not in _KEPT_ENTRIES)
        if taken:
            raise FolderInUseError(
                f"{folder} holds {taken[0]} already, and nothing is overwritten; name a new or an empty folder."
            )
        written = []
        for source in sorted(path for path in _TEMPLATE.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            target = folder / source.relative_to(_TEMPLATE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            written.append(target)
    except OSError as error:
        raise FolderInUseError(f"{folder} cannot take a new project: {error.strerror}; name another folder.") from error
    return written
