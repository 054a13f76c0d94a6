"""The errors of the wire and the store, one class for each thing a caller would treat differently.

It never imports Redis, Celery or a model: client and command line need these names before they connect.
"""

from __future__ import annotations

from agent_core.errors import ErrandryError


class QueueError(ErrandryError):
    """Root of this floor's branch."""


class SettingsError(QueueError, ValueError):
    """The settings cannot be used; the sentence names the file or variable, the key and the way out."""


class StoreUnreachableError(QueueError):
    """Redis did not answer in time, or not at all; trying again later may work."""


class StoreRefusedError(QueueError):
    """Redis answered and refused: wrong password, missing right, out of memory; trying again changes nothing."""


class EmbeddedServerError(QueueError):
    """The embedded server cannot be started or used; the sentence carries its own last words."""


class UnknownAgentError(QueueError, LookupError):
    """No agent worker has announced an agent of this name."""


class UnknownPoolError(QueueError, LookupError):
    """No pool of this name is known."""


class RunNotFailedError(QueueError, ValueError):
    """Only a run that ended in ERROR can be retried."""


class DeadLetterNotFoundError(QueueError, LookupError):
    """There is no dead letter of this id (any more)."""


class NotRequeueableError(QueueError, ValueError):
    """This dead letter is of a message that was refused; nothing of it was kept."""


class AlreadyAnsweredError(QueueError, ValueError):
    """Somebody has answered this call before; the first answer stands."""


class IdempotencyConflictError(QueueError, ValueError):
    """The idempotency key already belongs to a run with another agent or another input."""
