"""The record of a tool call, its outcomes and the answers that settle it.

Never executes anything and imports nothing of the agent, so that clients and tool workers can use it.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter
from pydantic_core import PydanticSerializationError, to_json

from agent_core.text import well_formed


class CallOutcome(StrEnum):
    """How a tool call ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"
    EXPIRED = "expired"
    DENIED = "denied"


class CallMetrics(BaseModel):
    """Where and how a call was executed; what was not measured is None."""

    model_config = ConfigDict(frozen=True)

    pool: str | None = None
    worker: str | None = None
    attempt: int | None = None
    queue_wait_seconds: float | None = None
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None
    exit_code: int | None = None
    sandbox_level: str | None = None
    truncated: bool = False


class CallResult(BaseModel):
    """A settled call: `content` is what the model gets to read. An outcome other than succeeded is a tool error."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["result"] = "result"
    outcome: CallOutcome = CallOutcome.SUCCEEDED
    content: str
    metrics: CallMetrics = CallMetrics()

    def message_text(self) -> str:
        """Return the tool message: the content, marked with the outcome unless the call succeeded."""
        return self.content if self.outcome is CallOutcome.SUCCEEDED else f"[{self.outcome}] {self.content}"


class Confirmation(BaseModel):
    """A person's yes or no to a call."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["confirmation"] = "confirmation"
    confirmed: bool
    note: str = ""


class UserInput(BaseModel):
    """The arguments of a call that a person has to give, by field name."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["input"] = "input"
    values: dict[str, JsonValue]


CallAnswer = Annotated[CallResult | Confirmation | UserInput, Field(discriminator="kind")]
_ANSWER: TypeAdapter[CallResult | Confirmation | UserInput] = TypeAdapter(CallAnswer)


def parse_answer(raw: str | bytes) -> CallAnswer:
    """Return the answer that `raw` holds as JSON; a `pydantic.ValidationError` if it holds none."""
    return _ANSWER.validate_json(raw)


class UserInputField(BaseModel):
    """One argument that a person has to give; `value` is None until it is given."""

    name: str
    field_type: str
    description: str = ""
    required: bool = True
    value: JsonValue = None


class ToolExecution(BaseModel):
    """The record of one tool call. Setting `result` (or `confirmed`, or the input fields) is the way to answer it."""

    tool_call_id: str
    tool_name: str
    tool_args: dict[str, JsonValue] = Field(default_factory=dict)
    step: int = Field(default=0, description="The step that asked for the call; 0 if it belongs to no run.")
    result: object = None
    tool_call_error: bool | None = None
    external_execution_required: bool = False
    requires_confirmation: bool = False
    confirmed: bool | None = None
    confirmation_note: str | None = None
    requires_user_input: bool = False
    user_input_schema: list[UserInputField] | None = None
    answered: bool | None = None
    pool: str | None = None
    schema_digest: str | None = Field(
        default=None, description="What the tool accepted when a call of it paused the run, as a short name."
    )
    outcome: CallOutcome | None = None
    metrics: CallMetrics | None = None
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def pauses(self) -> bool:
        """Whether the call is of a kind that pauses the run."""
        return self.external_execution_required or self.requires_confirmation or self.requires_user_input

    @property
    def is_settled(self) -> bool:
        """Whether the outcome of the call is known to the run."""
        return self.outcome is not None

    @property
    def is_paused(self) -> bool:
        """Whether the call waits for an answer from outside."""
        if self.is_settled:
            return False
        if self.external_execution_required:
            return self.result is None
        if self.requires_confirmation:
            return self.confirmed is None
        return self.requires_user_input and not self.has_user_input

    @property
    def has_user_input(self) -> bool:
        """Whether a person has given every required field, in one go or field by field."""
        fields = self.user_input_schema or []
        return bool(self.answered) or (bool(fields) and all(f.value is not None for f in fields if f.required))

    def settle(self, result: CallResult) -> None:
        """Record the outcome. A second one replaces the first: who may settle is the caller's rule."""
        self.result = result.content
        self.outcome = result.outcome
        self.tool_call_error = result.outcome is not CallOutcome.SUCCEEDED
        self.metrics = result.metrics
        self.answered = True

    def message_text(self) -> str:
        """Return what the model gets to read of a settled call."""
        outcome = self.outcome or CallOutcome.SUCCEEDED
        return CallResult(outcome=outcome, content=str(self.result)).message_text()


def encode_result(value: object, *, tool_name: str) -> str:
    """Return the result of a tool as the text that the model reads; see `as_text`, whose `TypeError` names the tool."""
    return as_text(value, what=f"The result of tool {tool_name!r}")


def as_text(value: object, *, what: str) -> str:
    """Return a `str` as it is, anything else as JSON; `TypeError`, beginning with `what`, if JSON cannot hold it."""
    if isinstance(value, str):
        # A subclass may answer anything to anything; the text itself is what counts.
        return well_formed(str.__str__(value))
    try:
        return to_json(value, inf_nan_mode="strings").decode("utf-8")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise TypeError(
            f"{what} is a {type(value).__name__}, which cannot be written as JSON ({error}). "
            "Give a str, a JSON-able value or a pydantic model."
        ) from error
