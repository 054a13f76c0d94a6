"""Identifiers that sort by the time they were made.

Never derived from content: two calls never give the same one.
"""

import secrets
import time
from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # base32 without i, l, o, u: safe to read aloud
_LENGTH = 26


def new_id(
    prefix: str,
    *,
    clock: Callable[[], float] = time.time,
    random_bits: Callable[[int], int] = secrets.randbits,
) -> str:
    """Return `prefix_` and 26 base32 characters: 48 bits of milliseconds, then 80 random bits."""
    number = (int(clock() * 1000) << 80) | random_bits(80)
    digits = [_ALPHABET[(number >> shift) & 31] for shift in range(5 * (_LENGTH - 1), -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def new_run_id() -> str:
    """Return a fresh `run_…` id."""
    return new_id("run")


def new_session_id() -> str:
    """Return a fresh `ses_…` id."""
    return new_id("ses")
