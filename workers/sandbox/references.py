"""The secrets of a pool, by reference: looked up in the worker at each call, so that a rotated one is the next call's.

It never keeps a value, and no sentence of its repeats one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from workers.references import ReferenceUnusableError, referenced
from workers.sandbox.base import SandboxUnavailableError

_log = logging.getLogger(__name__)


class SecretUnavailableError(SandboxUnavailableError):
    """A secret that the pool refers to is not there; the sentence names it and where it was looked for."""


class Secrets:
    """The secrets of a pool: `references` are "env:NAME", looked up in `variables`, or "file:/path"."""

    def __init__(self, references: Mapping[str, str], variables: Mapping[str, str]) -> None:
        self._references = dict(references)
        self._variables = variables
        self._warned: set[str] = set()

    def __call__(self) -> dict[str, str]:
        """The values as they are now; raises `SecretUnavailableError` for the first that is not there."""
        return {name: self._value(name, reference) for name, reference in self._references.items()}

    def _value(self, name: str, reference: str) -> str:
        kind, _, target = reference.partition(":")
        try:
            return referenced(reference, self._variables, exposed=partial(self._warn, name))
        except ReferenceUnusableError as error:
            if kind == "env" and not self._variables.get(target):
                raise SecretUnavailableError(
                    f"The pool lists the secret {name}, but the worker's environment does not hold {target}. "
                    f"Set {target} where the worker is started, or take {name} out of the pool's secrets."
                ) from error
            raise SecretUnavailableError(
                f"The pool's secret {name} cannot be taken from {target}: {error}. Put that right, or take {name} out "
                "of the pool's secrets."
            ) from error

    def _warn(self, name: str, path: Path) -> None:
        if name not in self._warned:
            self._warned.add(name)
            _log.warning("the secret %s lies in %s, which every user of this machine can read", name, path)
