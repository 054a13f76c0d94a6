"""Looks a secret up where its reference says, a variable or a file. Keeps no value, and no sentence repeats one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from agent_core.errors import ErrandryError

MOST_BYTES = 64 * 1024


class ReferenceUnusableError(ErrandryError, LookupError):
    """What a reference names is not there, or is not fit for a secret; says why, for a sentence to go on with."""


def referenced(reference: str, variables: Mapping[str, str], *, exposed: Callable[[Path], None]) -> str:
    """The value of "env:NAME" or "file:/path" as it is now; ReferenceUnusableError if there is none.

    A file's last line end does not count. One that others than its owner can write to is refused, for they would choose
    the secret. Of one that everybody can read `exposed` is told: that is how orchestrators mount secrets into a
    container of one's own.
    """
    kind, _, target = reference.partition(":")
    value = variables.get(target, "") if kind == "env" else _content(Path(target), exposed)
    if not value:
        raise ReferenceUnusableError("it is not set" if kind == "env" else "it is empty")
    if "\0" in value:
        raise ReferenceUnusableError("it holds a NUL byte")
    return value


def _content(path: Path, exposed: Callable[[Path], None]) -> str:
    try:
        # Not to be held up by a pipe that somebody put there.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            _check_mode(os.fstat(fd))
            if os.fstat(fd).st_mode & 0o004:
                exposed(path)
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ReferenceUnusableError((error.strerror or "it cannot be read").lower()) from error
    if len(content) > MOST_BYTES:
        raise ReferenceUnusableError(f"it is over {MOST_BYTES >> 10} KiB")
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        # Without its cause, which carries the bytes.
        raise ReferenceUnusableError("it is not UTF-8") from None


def _check_mode(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ReferenceUnusableError("it is no file")
    if status.st_mode & 0o022:
        raise ReferenceUnusableError("others can write to it; run chmod go-w on it")
