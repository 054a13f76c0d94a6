"""The demo's own folder in the current one: `.errandry/demo`, with a fresh copy of the demo's project.

Never touches anything outside that folder, and never one in which another demo runs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_core.errors import ErrandryError

_PROJECT = Path(__file__).parent / "project"


class DemoFolderError(ErrandryError):
    """The demo cannot have its folder."""


@contextmanager
def demo_folder(current: Path) -> Iterator[Path]:
    """The folder with a fresh project and nothing else; it stays, so that one can look at it afterwards.

    DemoFolderError if it cannot be written, or if another demo runs in it.
    """
    folder = (current / ".errandry" / "demo").resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        _lock(lock, folder)
        try:
            _refresh(folder)
        except OSError as error:
            raise _unusable(folder, error) from error
        yield folder
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DemoFolderError(
            f"Another demo runs in {folder}; stop it, or start this one in another folder."
        ) from error


def _refresh(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    shutil.copytree(_PROJECT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder.parent / ".gitignore").write_text("*\n", encoding="utf-8")


def _unusable(folder: Path, error: OSError) -> DemoFolderError:
    return DemoFolderError(
        f"The demo cannot use {folder}: {error.strerror}; start it in a folder that you may write to."
    )
