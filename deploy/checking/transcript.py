"""What the check says while it goes: steps with their times, and findings; one that fails ends the check."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CheckFailedError(Exception):
    """Something is not as it has to be; the message says what."""


def say(line: str) -> None:
    """One line of the transcript, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def step(what: str) -> Iterator[None]:
    """A heading, and at the end how long it took."""
    say(f"\n== {what}")
    started = time.monotonic()
    yield
    say(f"   ({time.monotonic() - started:.1f} s)")


def found(what: str, holds: object, details: object = "") -> None:
    """A finding; CheckFailedError unless it holds."""
    say(f"   {'ok  ' if holds else 'FAIL'} {what}{f': {details}' if details != '' else ''}")
    if not holds:
        raise CheckFailedError(f"{what}: {details}")


def await_true(what: str, holds: Callable[[], object], *, within_seconds: float) -> None:
    """A finding that may take a while to become true."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        if time.monotonic() > deadline:
            raise CheckFailedError(f"not within {within_seconds:g} s: {what}")
        time.sleep(0.5)
    say(f"   ok   {what}")
