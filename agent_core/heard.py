"""What is heard of one model call, piece by piece, until it is an answer.

Never asks the model itself: the driver does, sync or async, and hands over what comes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from agent_core.errors import ModelError
from agent_core.events import RunEvent
from agent_core.models.base import ModelReply
from agent_core.requests import CallModel, ModelFailure
from agent_core.telemetry import emit

_CANCEL_CHECK_SECONDS = 0.25


@dataclass(kw_only=True)
class Heard:
    """The pieces so far of what the model says to `call`. Entered while the model is listened to, which is told of."""

    call: CallModel
    model_id: str
    clock: Callable[[], float] = time.monotonic
    _reply: ModelReply | None = None
    _error: ModelError | None = None
    _spoke: bool = False
    _checked: float = field(init=False)
    _asked: float = field(init=False)

    def __post_init__(self) -> None:
        self._checked = self._asked = self.clock()

    def __enter__(self) -> Self:
        self._asked = self.clock()
        emit("model.asked", **self._told())
        return self

    def __exit__(self, *_: object) -> None:
        usage = self._reply.usage if self._reply is not None else None
        emit(
            "model.answered",
            **self._told(),
            outcome="failed" if self._error else "answered" if self._reply else "stopped",
            wall_seconds=self.clock() - self._asked,
            input_tokens=usage.input_tokens if usage else 0,
            output_tokens=usage.output_tokens if usage else 0,
        )

    def take(self, part: str | ModelReply) -> list[RunEvent]:
        """Take in a piece of text or the reply; return the event that tells its text, if it was not told before."""
        if isinstance(part, ModelReply):
            self._reply = part
            return [self.call.on_content(part.content)] if part.content and not self._spoke else []
        self._spoke = True
        return [self.call.on_content(part)]

    def fail(self, error: Exception) -> None:
        """Take in that the model raised, in the middle or at once."""
        self._error = error if isinstance(error, ModelError) else self._wrapped(error)

    def answer(self) -> ModelReply | ModelFailure:
        """Return what the loop is told of the call."""
        if self._error is not None:
            return ModelFailure(self._error, self._spoke)
        if self._reply is not None:
            return self._reply
        return ModelFailure(ModelError(f"Model {self.model_id!r} ended its stream without a reply.", retryable=True))

    def is_check_due(self) -> bool:
        """Return whether it is time to ask if the run was cancelled: a reply may stream for minutes."""
        if self.clock() - self._checked <= _CANCEL_CHECK_SECONDS:
            return False
        self._checked = self.clock()
        return True

    def _told(self) -> dict[str, object]:
        call = self.call
        return {"run_id": call.run_id, "step": call.step, "agent": call.agent, "model": self.model_id}

    def _wrapped(self, error: Exception) -> ModelError:
        wrapped = ModelError(f"Model {self.model_id!r} raised {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        return wrapped
