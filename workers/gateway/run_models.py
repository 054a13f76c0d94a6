"""Runs as they travel over HTTP: what is submitted, and what is told of a run in short."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from agent_core.messages import Usage
from agent_core.run import RunOutput, RunStatus
from workers.gateway.bodies import Body, JsonObject, Short, Text

_EXCERPT = 300
_MOST_AWAITED = 10
# How such a URL looks; the client has the last word, and says in a sentence what is wrong.
_URL = (
    r"^https?://[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,9}"
    r"(:[1-9][0-9]{0,3})?(/[!-\[\]-~]{0,1000})?$"
)
WebhookUrl = Annotated[Text, Field(min_length=1, max_length=2048, json_schema_extra={"pattern": _URL})]


class NewRun(Body):
    """A run to submit."""

    agent: Short = Field(description="The agent's name, as its workers announce it.")
    input: Text
    session_id: Short | None = None
    user_id: Short | None = None
    priority: Literal["low", "normal", "high"] = "normal"
    deadline_seconds: float | None = Field(
        default=None, gt=0, le=366 * 86400, description="The run ends in ERROR unless it is done by then."
    )
    metadata: JsonObject = Field(default_factory=dict)
    webhook_url: WebhookUrl | None = Field(
        default=None, description="Where to post when the run pauses for people and when it ends."
    )


class Submitted(BaseModel):
    """A run that is stored, and goes on by itself."""

    run_id: str
    status: RunStatus


class AwaitedCall(BaseModel):
    """A call that a run waits for."""

    tool_call_id: str
    tool_name: str
    pool: str | None
    for_person: bool = Field(description="Whether a person is to act on it now, and not a pool.")
    since: datetime


class RunView(BaseModel):
    """A run in short. Its messages, calls and content are in its output."""

    run_id: str
    agent_name: str
    session_id: str | None
    user_id: str | None
    status: RunStatus
    input: str = Field(description=f"The first {_EXCERPT} characters of it.")
    error: str | None
    model: str | None
    metrics: Usage
    metadata: dict[str, JsonValue]
    waits_for: list[AwaitedCall] = Field(
        description=f"The first {_MOST_AWAITED} calls that a paused run waits for, as it was when it paused."
    )
    created_at: datetime

    @classmethod
    def of(cls, output: RunOutput) -> RunView:
        awaited = [call for call in output.tools if call.is_paused] if output.is_paused else []
        return cls.model_validate(
            {name: getattr(output, name) for name in cls.model_fields if name not in ("input", "waits_for")}
            | {"input": output.input[:_EXCERPT]}
            | {
                "waits_for": [
                    AwaitedCall(
                        tool_call_id=call.tool_call_id,
                        tool_name=call.tool_name,
                        pool=call.pool,
                        for_person=call.waits_for_person,
                        since=call.created_at,
                    )
                    for call in awaited[:_MOST_AWAITED]
                ]
            }
        )


class RunPage(BaseModel):
    """Some runs, the newest first."""

    runs: list[RunView]
    next: str | None = Field(description="Pass it as `before` for the runs after these; null at the end.")


class Cancellation(Body):
    """Why a run is cancelled."""

    reason: Annotated[Text, Field(max_length=1000)] = ""


class Cancelled(BaseModel):
    """What a cancellation did; a run that a worker holds ends within a heartbeat."""

    run_id: str
    cancelled: bool = Field(description="False if the run had ended before.")
