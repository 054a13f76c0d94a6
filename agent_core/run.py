"""A run: its status, its output for callers, and its snapshot for the run store.

Never executes anything; `agent_core.loop` changes these values, the stores keep them.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SerializeAsAny, ValidationError, field_serializer
from pydantic_core import from_json

from agent_core.errors import SnapshotSchemaError
from agent_core.events import RunEvent
from agent_core.identifiers import new_run_id, new_session_id
from agent_core.messages import Message, Usage
from agent_core.requirement import RunRequirement
from agent_core.text import well_formed, whole
from agent_core.tools.execution import ToolExecution

SNAPSHOT_SCHEMA: Literal[1] = 1
HEAD_SCHEMA: Literal["1+log"] = "1+log"
"""Of a snapshot whose beginning lies in its log; a release that knows no log must not take it for the whole."""
_RUN_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")

__all__ = ["RunOutput", "RunResponse", "RunSnapshot", "RunStatus", "new_run_id", "new_session_id"]


class RunStatus(StrEnum):
    """Where a run stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    ERROR = "ERROR"

    @property
    def is_finished(self) -> bool:
        """Whether the run goes no further by itself."""
        return self in (RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.ERROR)


class RunOutput(BaseModel):
    """What has come of a run so far; final once its status is finished."""

    run_id: str
    agent_id: str | None = None
    agent_name: str
    session_id: str | None = None
    user_id: str | None = None
    input: str = ""
    content: SerializeAsAny[object] = None
    content_type: str = "str"
    model: str | None = None
    messages: list[Message] = Field(default_factory=list)
    metrics: Usage = Usage()
    tools: list[ToolExecution] = Field(default_factory=list)
    status: RunStatus = RunStatus.PENDING
    error: str | None = Field(default=None, description="Why the run ended in ERROR or was cancelled, as a sentence.")
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    events: list[RunEvent] = Field(
        default_factory=list, exclude=True, description="What happened since the last pause, pieces of text aside."
    )

    @field_serializer("content", when_used="json")
    def _whole(self, content: object) -> object:
        return whole(content)

    @property
    def is_paused(self) -> bool:
        """Whether the run waits for answers."""
        return self.status is RunStatus.PAUSED

    @property
    def is_cancelled(self) -> bool:
        """Whether the run was cancelled."""
        return self.status is RunStatus.CANCELLED

    @property
    def tools_awaiting_external_execution(self) -> list[ToolExecution]:
        """Return the external calls whose result is still to be given."""
        return [call for call in self.tools if call.external_execution_required and call.is_paused]

    @property
    def tools_requiring_confirmation(self) -> list[ToolExecution]:
        """Return the calls that wait for a yes or no."""
        return [call for call in self.tools if call.requires_confirmation and call.is_paused]

    @property
    def tools_requiring_user_input(self) -> list[ToolExecution]:
        """Return the calls that wait for arguments from a person."""
        return [call for call in self.tools if call.requires_user_input and call.is_paused]

    @property
    def requirements(self) -> list[RunRequirement]:
        """Return what the run waited or waits for: one for each call that pauses, in call order."""
        return [RunRequirement(call) for call in self.tools if call.pauses]

    @property
    def active_requirements(self) -> list[RunRequirement]:
        """Return those requirements that are not resolved yet."""
        return [requirement for requirement in self.requirements if not requirement.is_resolved()]

    def to_dict(self) -> dict[str, object]:
        """Return the output as JSON-able values."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Return the output as JSON text."""
        return self.model_dump_json()

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> "RunOutput":
        """Return the output that `to_dict` gave. Structured content stays a dict: its class is the caller's."""
        return cls.model_validate(values)


RunResponse = RunOutput


class Logged(BaseModel):
    """How much of a run lies in the log that its store keeps beside the snapshot; see `agent_core.snapshot_log`."""

    model_config = ConfigDict(frozen=True)

    parts: int = 0
    messages: int = 0
    tools: int = 0
    shown: int = 0


class RunSnapshot(BaseModel):
    """The stored state of a run: all that is needed to go on, in any process.

    `version` counts saves (0: never saved). `step` is the step under way: with phase `model` its model call is due,
    with phase `tools` its tool calls are recorded and not all settled.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    # Without a default: what has its default is left out of the stored form, and this must never be.
    schema_number: Literal[1, "1+log"] = Field(alias="schema")
    version: int = 0
    step: int = 0
    phase: Literal["model", "tools"] = "model"
    shown: list[str] = Field(default_factory=list, description="Results of tools that show them, for the content.")
    response_schema: dict[str, JsonValue] | None = None
    schema_retried: bool = False
    # For spans, and left out while nobody traces. A release that does not know them drops them when it saves; the run's
    # spans then belong to another trace.
    traceparent: str | None = Field(default=None, description="Whose span it was that submitted the run.")
    trace_began_at: datetime | None = Field(
        default=None, description="When the trace under way began, if not with the run: after a long pause, or a retry."
    )
    stretch_began_at: datetime | None = Field(
        default=None, description="When whoever saved last began: should they die, others tell of what they did."
    )
    logged: Logged | None = Field(default=None, description="What of this run its store has in a log already.")
    output: RunOutput

    @classmethod
    def create(
        cls,
        *,
        agent_name: str,
        input: str,
        run_id: str | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        traceparent: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> "RunSnapshot":
        """Return a PENDING run that was never saved. `ValueError` for a run id that is unfit for keys and URLs."""
        if run_id is not None and not _RUN_ID.fullmatch(run_id):
            raise ValueError(f"{run_id!r} is no run id: 1 to 128 letters, digits, '_', '.' or '-'.")
        return cls(
            schema_number=SNAPSHOT_SCHEMA,
            traceparent=traceparent,
            output=RunOutput(
                run_id=run_id or new_run_id(),
                agent_name=agent_name,
                session_id=session_id or new_session_id(),
                user_id=user_id,
                input=well_formed(input),
                metadata=dict(metadata or {}),
                created_at=clock(),
            ),
        )

    @classmethod
    def from_output(cls, output: RunOutput) -> "RunSnapshot":
        """Return a snapshot of a paused run that no store holds, as far as its output tells."""
        step = max((call.step for call in output.tools), default=1)
        copied = output.model_copy(deep=True, update={"events": []})
        return cls(schema_number=SNAPSHOT_SCHEMA, step=step, phase="tools", output=copied)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.output.run_id

    @property
    def status(self) -> RunStatus:
        """Where the run stands."""
        return self.output.status

    @property
    def calls(self) -> list[ToolExecution]:
        """Return the tool calls of the step under way, in call order."""
        return [call for call in self.output.tools if call.step == self.step]

    @property
    def pending(self) -> list[ToolExecution]:
        """Return the calls of the step under way that wait for an answer from outside, in call order."""
        return [call for call in self.calls if call.is_paused]

    def to_json(self) -> str:
        """Return the stored form. What has its default value is left out: most of a waiting run would be nulls."""
        # Of a whole snapshot nothing lies anywhere else, wherever it came from.
        whole = {"logged"} if self.schema_number == SNAPSHOT_SCHEMA else None
        return self.model_dump_json(exclude_defaults=True, exclude_none=True, exclude=whole)

    @classmethod
    def from_json(cls, raw: str | bytes, *, log_parts: int = 0) -> "RunSnapshot":
        """Read the stored form; `SnapshotSchemaError` if a newer release wrote it, or it is none.

        Also if it is the head of a snapshot whose log has another number of parts than the caller has at hand.
        """
        try:
            snapshot = cls.model_validate_json(raw)
        except ValidationError as error:
            number = _schema_of(raw)
            if number in (None, SNAPSHOT_SCHEMA, HEAD_SCHEMA):
                raise SnapshotSchemaError(f"This is no snapshot of a run: {error}") from error
            raise SnapshotSchemaError(
                f"The snapshot has schema {number!r}, and this release reads schema {SNAPSHOT_SCHEMA}. "
                "Upgrade this process before it takes part in the run."
            ) from error
        wanted = snapshot.logged.parts if snapshot.logged else 0
        if wanted != log_parts:
            raise SnapshotSchemaError(
                f"The snapshot goes on from {wanted} parts of a log, and {log_parts} are at hand."
            )
        return snapshot


def _schema_of(raw: str | bytes) -> object:
    try:
        stored = from_json(raw)
    except ValueError:
        return None
    return stored.get("schema") if isinstance(stored, dict) else None
