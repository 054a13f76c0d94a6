"""The errors of the agent floor and the base of the whole product's tree.

Never raised for a failing tool: that is an outcome, see `agent_core.tools.execution`.
"""

from typing import ClassVar


class ErrandryError(Exception):
    """Base of the product's errors; `str(error)` is the sentence for the user.

    `holds_payload` says that the sentence may quote what a model, a tool or a caller said; no log tells it then.
    """

    holds_payload: ClassVar[bool] = False


class AgentError(ErrandryError):
    """Base of this floor's errors."""


class RunNotFoundError(AgentError, LookupError):
    """The run store does not hold this run."""


class RunAlreadyContinuedError(AgentError, ValueError):
    """The run is not waiting (any more): somebody else continued it, or it has finished."""


class StaleRunError(AgentError):
    """A save lost the compare-and-set: the stored version is not the expected one."""


class InvalidAnswerError(AgentError, ValueError):
    """An answer does not fit the call that it is meant for; nothing was changed."""

    holds_payload = True


class MissingResultError(InvalidAnswerError):
    """A paused run was continued while calls have no answer; the answers given are kept."""


class SnapshotSchemaError(AgentError):
    """A stored snapshot cannot be read by this release."""

    holds_payload = True


class ImportStringError(AgentError):
    """An import string does not lead to what it promises."""


class ArgumentsError(AgentError, ValueError):
    """The arguments of a tool call do not fit the tool; the text names field and reason."""

    holds_payload = True


class ModelError(AgentError):
    """The model gave no usable reply. `retryable` tells whether asking again may help."""

    holds_payload = True

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class OutputSchemaError(ModelError):
    """The final reply does not fit the agent's `output_schema`, not even at the second try."""
