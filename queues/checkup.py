"""What an examination finds: a level, what it is about, a sentence and the remedy. Examines nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import redis
from redis.exceptions import ResponseError

from queues.connections import translated_errors
from queues.errors import StoreRefusedError, StoreUnreachableError

NAMED = 5
"""How many runs, letters or the like one finding names; it counts them all."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `subject` is the same word in every release; `details` name what is affected."""

    level: Level
    subject: str
    text: str
    remedy: str = ""
    details: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The finding as JSON-able values."""
        return {
            "level": self.level.value,
            "subject": self.subject,
            "text": self.text,
            "remedy": self.remedy,
            "details": list(self.details),
        }


def ok(subject: str, text: str) -> Finding:
    """All is well there."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, remedy: str, details: Sequence[str] = ()) -> Finding:
    """It works, but somebody should know."""
    return Finding(Level.WARNING, subject, text, remedy, named(details))


def problem(subject: str, text: str, remedy: str, details: Sequence[str] = ()) -> Finding:
    """Something is lost, unsafe or standing still until it is put right."""
    return Finding(Level.PROBLEM, subject, text, remedy, named(details))


def named(details: Sequence[str]) -> tuple[str, ...]:
    """The first few, and how many more there are."""
    more = len(details) - NAMED
    return (*details[:NAMED], f"… and {more} more") if more > 0 else tuple(details)


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def seen(connection: redis.Redis, subject: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What `look` finds, and what stopped it: a missing right is a warning, a Redis that went away a problem.

    So is what lies there and is not of ours: a pool can write anything below its own prefix.
    """
    found: list[Finding] = []
    try:
        with translated_errors(connection):
            found.extend(look())
    except StoreRefusedError as error:
        found.append(unseen(subject, str(error)))
    except StoreUnreachableError as error:
        found.append(problem(subject, str(error), "see to it that Redis stays up, and look again"))
    except (ResponseError, ValueError) as error:
        found.append(problem(subject, f"something there cannot be read: {error}", "find out who wrote it"))
    return found


def unseen(subject: str, reason: str) -> Finding:
    """What the user in redis_url has no right to look at."""
    return warning(
        subject, f"cannot be seen with this user: {reason}", "look again with a user that may, in ERRANDRY_REDIS_URL"
    )
