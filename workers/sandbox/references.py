"""Secrets by reference: looked up in the worker at each call, so that a rotated one is the next call's.

It never keeps a value, and no sentence of its repeats one.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from workers.sandbox.base import SandboxUnavailableError

MOST_BYTES = 64 * 1024
_log = logging.getLogger(__name__)


class SecretUnavailableError(SandboxUnavailableError):
    """A secret that the pool refers to is not there; the sentence names it and where it was looked for."""


class Secrets:
    """The secrets of a pool: `references` are "env:NAME", looked up in `variables`, or "file:/path".

    A file is read anew each time; its last line end does not count. One that others than its owner can write to is
    refused, for they would choose what tools are given. One that everybody can read is taken with a warning, because
    that is how orchestrators mount secrets into a container of one's own.
    """

    def __init__(self, references: Mapping[str, str], variables: Mapping[str, str]) -> None:
        self._references = dict(references)
        self._variables = variables
        self._warned: set[str] = set()

    def __call__(self) -> dict[str, str]:
        """The values as they are now; raises `SecretUnavailableError` for the first that is not there."""
        return {name: self._value(name, reference) for name, reference in self._references.items()}

    def _value(self, name: str, reference: str) -> str:
        kind, _, target = reference.partition(":")
        value = self._variables.get(target, "") if kind == "env" else self._content(name, Path(target))
        if not value and kind == "env":
            raise SecretUnavailableError(
                f"The pool lists the secret {name}, but the worker's environment does not hold {target}. "
                f"Set {target} where the worker is started, or take {name} out of the pool's secrets."
            )
        if not value or "\0" in value:
            raise self._unusable(name, Path(target), "it is empty" if not value else "it holds a NUL byte")
        return value

    def _content(self, name: str, path: Path) -> str:
        try:
            # Not to be held up by a pipe that somebody put there.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as file:
                self._check_mode(name, path, os.fstat(fd))
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise self._unusable(name, path, (error.strerror or "it cannot be read").lower()) from error
        if len(content) > MOST_BYTES:
            raise self._unusable(name, path, f"it is over {MOST_BYTES >> 10} KiB")
        try:
            return content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            # Without its cause, which carries the bytes.
            raise self._unusable(name, path, "it is not UTF-8") from None

    def _check_mode(self, name: str, path: Path, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable(name, path, "it is no file")
        if status.st_mode & 0o022:
            raise self._unusable(name, path, "others can write to it; run chmod go-w on it")
        if status.st_mode & 0o004 and name not in self._warned:
            self._warned.add(name)
            _log.warning("the secret %s lies in %s, which every user of this machine can read", name, path)

    @staticmethod
    def _unusable(name: str, path: Path, why: str) -> SecretUnavailableError:
        return SecretUnavailableError(
            f"The pool's secret {name} cannot be taken from {path}: {why}. Put that right, or take {name} out of the "
            "pool's secrets."
        )
