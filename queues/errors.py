"""The errors of the wire and the store, one class for each thing a caller would treat differently.

It never imports Redis, Celery or a model: client and command line need these names before they connect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_core.errors import ErrandryError

if TYPE_CHECKING:
    from agent_core.tools.execution import CallOutcome


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


class UnknownToolError(QueueError, LookupError):
    """No pool is known to execute a tool of this name."""


class CallRefusedError(QueueError, ValueError):
    """A call cannot be sent to its pool as it is; the sentence says why. Nothing was sent."""

    holds_payload = True


class CallFailedError(QueueError):
    """A call that was sent to its pool ended in another way than by succeeding; `content` says what came of it."""

    holds_payload = True

    def __init__(self, message: str, *, outcome: CallOutcome, content: str) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.content = content


class WaitTimeoutError(QueueError, TimeoutError):
    """What was waited for did not end within the time that the caller would wait. A run goes on all the same."""


class RunNotFailedError(QueueError, ValueError):
    """Only a run that ended in ERROR can be retried."""


class DeadLetterNotFoundError(QueueError, LookupError):
    """There is no dead letter of this id (any more)."""


class NotRequeueableError(QueueError, ValueError):
    """This dead letter is of a message that was refused; nothing of it was kept."""


class WebhookUrlError(QueueError, ValueError):
    """The webhook_url of a submit is none that a run's end can be posted to, or none that may be."""


class AlreadyAnsweredError(QueueError, ValueError):
    """Somebody has answered this call before; the first answer stands."""


class IdempotencyConflictError(QueueError, ValueError):
    """The idempotency key already belongs to a run with another agent or another input."""
