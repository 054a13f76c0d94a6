"""The record of a tool call, its outcomes and the answers that settle it.

Never executes anything and imports nothing of the agent, so that clients and tool workers can use it.
"""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter
from pydantic_core import PydanticSerializationError, to_json

from agent_core.text import well_formed

MAX_ARGUMENTS_BYTES = 1024 * 1024
_SHOWN_CHARACTERS = 2000


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


class Answered(BaseModel):
    """What every answer may say of whoever gave it; both are None where no person did, or nobody wrote it down."""

    model_config = ConfigDict(frozen=True)

    answered_by: str | None = None
    answered_at: datetime | None = None


class CallResult(Answered):
    """A settled call: `content` is what the model gets to read. An outcome other than succeeded is a tool error."""

    kind: Literal["result"] = "result"
    outcome: CallOutcome = CallOutcome.SUCCEEDED
    content: str
    metrics: CallMetrics = CallMetrics()

    def message_text(self) -> str:
        """Return the tool message: the content, marked with the outcome unless the call succeeded."""
        return self.content if self.outcome is CallOutcome.SUCCEEDED else f"[{self.outcome}] {self.content}"


class Confirmation(Answered):
    """A person's yes or no to a call; with a yes, `arguments` take the place of those that the model gave."""

    kind: Literal["confirmation"] = "confirmation"
    confirmed: bool
    note: str = ""
    arguments: dict[str, JsonValue] | None = None


class UserInput(Answered):
    """The arguments of a call that a person has to give, by field name."""

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
    requires_approval: bool = Field(
        default=False, description="Its pool executes the call only once a person has approved it (queue only)."
    )
    requested_args: dict[str, JsonValue] | None = Field(
        default=None, description="What the model had asked for, where a person changed the arguments."
    )
    requires_user_input: bool = False
    user_input_schema: list[UserInputField] | None = None
    answered: bool | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None
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

    @property
    def waits_for_person(self) -> bool:
        """Whether, on the queue, a person is to act on the call now, and not a pool."""
        if not self.is_paused:
            return False
        if self.requires_approval:
            return self.confirmed is None
        return self.pool is None or not self.external_execution_required

    def take_confirmation(self, answer: Confirmation) -> None:
        """Record a person's yes or no, and the arguments that they put in the place of the model's. A repeat is one."""
        self.confirmed, self.confirmation_note = answer.confirmed, answer.note or None
        if answer.arguments is not None and self.requested_args is None:
            self.requested_args, self.tool_args = self.tool_args, answer.arguments
        self.take_signature(answer)

    def take_signature(self, answer: Answered) -> None:
        """Record who gave an answer, and when, if the answer says so."""
        if (answer.answered_by, answer.answered_at) != (None, None):
            self.answered_by, self.answered_at = answer.answered_by, answer.answered_at

    def settle(self, result: CallResult) -> None:
        """Record the outcome. A second one replaces the first: who may settle is the caller's rule."""
        self.result = result.content
        self.outcome = result.outcome
        self.tool_call_error = result.outcome is not CallOutcome.SUCCEEDED
        self.metrics = result.metrics
        self.answered = True
        self.take_signature(result)

    def message_text(self) -> str:
        """Return what the model gets to read of a settled call."""
        outcome = self.outcome or CallOutcome.SUCCEEDED
        text = CallResult(outcome=outcome, content=str(self.result)).message_text()
        if self.requested_args is None:
            return text
        changed = json.dumps(self.tool_args, ensure_ascii=False)
        shown = changed if len(changed) <= _SHOWN_CHARACTERS else f"{changed[:_SHOWN_CHARACTERS]}…"
        return f"[a person changed the arguments of this call to {shown}]\n{text}"


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
