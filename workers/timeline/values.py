"""What a timeline consists of: steps, and in each of them model turns, tool calls and pauses, as they began.

A time that is not known, or not yet, is None.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from agent_core.tools.execution import CallOutcome, ToolExecution

TurnEnd = Literal["asked for calls", "answered", "failed", "cancelled", "void"]
Decision = Literal["approved", "denied", "answered"]


class Turn(BaseModel):
    """One question to the model and its reply. `end` says what came of it; None while it is under way.

    `void` is a turn whose worker died or left: the model was asked anew, and what it had said does not count.
    """

    kind: Literal["turn"] = "turn"
    step: int
    began_at: datetime | None
    first_text_at: datetime | None = None
    ended_at: datetime | None = None
    end: TurnEnd | None = None
    characters: int = 0


class Attempt(BaseModel):
    """One execution of a call. Without an outcome it is under way, or its end was not told."""

    number: int = 1
    worker: str | None = None
    sandbox_level: str | None = None
    queued_seconds: float | None = Field(
        default=None, description="Since the call was handed out, earlier attempts included."
    )
    began_at: datetime | None = None
    ended_at: datetime | None = None
    executed_seconds: float | None = None
    outcome: CallOutcome | None = None
    output_characters: int = Field(default=0, description="How much of its output was told while it was executed.")


class Answer(BaseModel):
    """What a person did about a call."""

    decision: Decision
    by: str | None = None
    at: datetime | None = None
    note: str | None = None
    changed_arguments: bool = False


class Call(BaseModel):
    """One tool call, from when the model asked for it. Inline calls are executed in the agent worker: no pool."""

    kind: Literal["call"] = "call"
    step: int
    tool_call_id: str
    tool_name: str
    pool: str | None = None
    asked_at: datetime | None = None
    answer: Answer | None = None
    attempts: list[Attempt] = Field(default_factory=list)
    settled_at: datetime | None = None
    outcome: CallOutcome | None = None
    record: ToolExecution | None = Field(default=None, exclude=True, description="The newest record of the call.")
    is_done: bool = Field(default=False, exclude=True, description="Whether the run has taken the result in.")


class Pause(BaseModel):
    """A time in which the run waited and nobody held it."""

    kind: Literal["pause"] = "pause"
    step: int
    began_at: datetime
    ended_at: datetime | None = None


class Step(BaseModel):
    """One step of the run; a model call that is made anew stands in the same step."""

    step: int
    entries: list[Annotated[Turn | Call | Pause, Field(discriminator="kind")]] = Field(default_factory=list)

    @property
    def calls(self) -> list[Call]:
        """The calls that the model asked for in this step."""
        return [entry for entry in self.entries if isinstance(entry, Call)]


class Timeline(BaseModel):
    """The whole story. Without times of the run it was made of the records of its calls alone: the events are gone."""

    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_cut: bool = Field(default=False, description="Whether the run told more than was read.")
    steps: list[Step] = Field(default_factory=list)

    @property
    def pauses(self) -> list[Pause]:
        """The pauses of all steps."""
        return [entry for step in self.steps for entry in step.entries if isinstance(entry, Pause)]
