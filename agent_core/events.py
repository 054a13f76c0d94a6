"""Run events: what a streaming caller sees of a run as it goes on.

Never the truth about a run: that is its snapshot. An event holds what happened, not the whole conversation.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, Field, JsonValue, SerializeAsAny, field_serializer

from agent_core.errors import AgentError, ModelError
from agent_core.messages import Usage
from agent_core.text import whole
from agent_core.tools.execution import CallOutcome, ToolExecution


class RunEvent(BaseModel):
    """What every event has. `event` is the name of its class."""

    event: str = ""
    run_id: str
    agent_name: str
    session_id: str | None = None
    step: int = 0
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    content: SerializeAsAny[object] = None
    tools: list[ToolExecution] | None = None
    event_id: str | None = Field(default=None, exclude=True, description="A reader's place, where one is kept.")

    def model_post_init(self, context: object, /) -> None:
        self.event = type(self).__name__

    @field_serializer("content", when_used="json")
    def _whole(self, content: object) -> object:
        return whole(content)

    @property
    def is_paused(self) -> bool:
        """Whether the run waits for answers from here on."""
        return False

    @property
    def tools_awaiting_external_execution(self) -> list[ToolExecution]:
        """Return the external calls whose result is still to be given."""
        return [call for call in self.tools or () if call.external_execution_required and call.is_paused]

    @property
    def tools_requiring_confirmation(self) -> list[ToolExecution]:
        """Return the calls that wait for a yes or no."""
        return [call for call in self.tools or () if call.requires_confirmation and call.is_paused]

    @property
    def tools_requiring_user_input(self) -> list[ToolExecution]:
        """Return the calls that wait for arguments from a person."""
        return [call for call in self.tools or () if call.requires_user_input and call.is_paused]

    def to_dict(self) -> dict[str, object]:
        """Return the event as JSON-able values; what is not set is left out."""
        return self.model_dump(mode="json", exclude_none=True)


class RunStarted(RunEvent):
    """The run begins."""


class RunContent(RunEvent):
    """A piece of text, in order; when not streamed, the whole text of a reply."""


class ToolCallStarted(RunEvent):
    """The model asked for a call, and it is about to be executed, here or elsewhere."""

    tool: ToolExecution


class ToolCallCompleted(RunEvent):
    """A call succeeded."""

    tool: ToolExecution


class ToolCallError(RunEvent):
    """A call ended in any other way; the run goes on."""

    tool: ToolExecution


class RunPaused(RunEvent):
    """The run waits; `tools` are its calls, answered and not."""

    @property
    def is_paused(self) -> bool:
        return True


class RunContinued(RunEvent):
    """The run goes on after a pause or an error, or because its worker died or left.

    With `voids_text` the model is asked anew: the text of this step that was told before is void, and told anew.
    """

    voids_text: bool = False


class RunCompleted(RunEvent):
    """The run has its final output."""

    metrics: Usage = Usage()


class RunCancelled(RunEvent):
    """The run was cancelled."""


class RunError(RunEvent):
    """The run ended in an error; continuing it asks the model again."""

    _cause: ModelError | None = None

    @property
    def cause(self) -> ModelError | None:
        """The exception, in the process where it was raised."""
        return self._cause

    def caused_by(self, error: ModelError) -> "RunError":
        """Attach the exception; it is not part of the stored form."""
        self._cause = error
        return self


class ToolCallExecuting(RunEvent):
    """A tool worker began to execute a call (queue only)."""

    tool_call_id: str
    tool_name: str
    pool: str
    worker: str
    attempt: int = 1
    queue_wait_seconds: float | None = None
    sandbox_level: str | None = None


class ToolCallOutput(RunEvent):
    """A piece of what a tool writes to stdout and stderr while it is executed: `content` (queue only).

    Pieces end anywhere, also within a line. A tool wrote it: characters that steer a terminal are still in it.
    """

    content: str = ""
    tool_call_id: str
    tool_name: str
    pool: str
    worker: str
    attempt: int = 1


class ToolCallAnswered(RunEvent):
    """A person gave a call what it waited for, a yes or its input, and it is still to be executed (queue only).

    `content` is their note; `tool_args` are there where they changed the arguments.
    """

    tool_call_id: str
    tool_name: str
    pool: str | None = None
    tool_args: dict[str, JsonValue] | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None


class ToolCallSettled(RunEvent):
    """A call got its outcome from a tool worker or a person (queue only)."""

    tool_call_id: str
    tool_name: str
    outcome: CallOutcome
    answered_by: str | None = None
    answered_at: datetime | None = None
    pool: str | None = None
    worker: str | None = None
    attempt: int | None = None
    wall_seconds: float | None = None
    sandbox_level: str | None = None


_EVENTS: dict[str, type[RunEvent]] = {
    kind.__name__: kind
    for kind in (
        RunStarted, RunContent, ToolCallStarted, ToolCallCompleted, ToolCallError, RunPaused, RunContinued,
        RunCompleted, RunCancelled, RunError, ToolCallExecuting, ToolCallOutput, ToolCallAnswered,
        ToolCallSettled,
    )
}  # fmt: skip


def event_from_dict(values: Mapping[str, object]) -> RunEvent:
    """Return the event that `to_dict` gave; `AgentError` for a name that this release does not know."""
    kind = _EVENTS.get(str(values.get("event")))
    if kind is None:
        raise AgentError(f"There is no run event {values.get('event')!r}. A newer release may have written it.")
    return kind.model_validate(values)
