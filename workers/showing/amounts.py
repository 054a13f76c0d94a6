"""Times and numbers in the words that people read."""

from __future__ import annotations

from datetime import datetime

_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


def seconds(duration: float | None) -> str:
    """A measured time; a question mark for one that was not."""
    return "?" if duration is None else f"{duration:.2f} s"


def lasted(duration: float | None) -> str:
    """A time of any length: hundredths of a second while that is short, then the two largest units."""
    if duration is None or duration < 60:
        return seconds(None if duration is None else max(0.0, duration))
    left, words = round(duration), list[str]()
    for unit, length in (*_UNITS, ("s", 1)):
        if left >= length or words:
            words.append(f"{left // length} {unit}")
            left %= length
    return " ".join(words[:2])


def age(duration: float) -> str:
    """How long ago something was, in one unit."""
    for unit, length in _UNITS:
        if duration >= length:
            return f"{duration / length:.0f}{unit}"
    return f"{max(0.0, duration):.0f}s"


def moment(at: datetime) -> str:
    """A point in time."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def elapsed(begin: datetime | None, end: datetime | None) -> float | None:
    """The seconds between two times, never below 0; None if one of them is not known."""
    return None if begin is None or end is None else max(0.0, (end - begin).total_seconds())
