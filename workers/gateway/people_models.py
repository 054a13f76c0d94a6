"""People's answers as they travel over HTTP, and the calls that wait for them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent_core.tools.execution import ToolExecution
from workers.gateway.bodies import Body, Json, JsonObject, Text


class PendingCalls(BaseModel):
    """The calls that a run waits for, in pools and with people alike."""

    calls: list[ToolExecution]


class _Answer(Body):
    answered_by: Annotated[Text, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Who answers, for the record. The name of the API key is recorded beside it."
    )


class Settlement(_Answer):
    """The result of an external call, or its error."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["result"]},
                {"required": ["error"], "properties": {"error": {"type": "string"}}},
            ]
        }
    )

    result: Json = None
    error: Text | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Settlement:
        if ("result" in self.model_fields_set) == (self.error is not None):
            raise ValueError("give either result or error, not both and not neither")
        return self


class Decision(_Answer):
    """A person's yes or no to a call."""

    approved: bool
    note: Annotated[Text, Field(max_length=4000)] = ""
    arguments: JsonObject | None = Field(
        default=None, description="The arguments to call with instead; for calls that need their pool's approval."
    )


class ProvidedInput(_Answer):
    """The arguments that a call asks a person for."""

    values: JsonObject


class Answered(BaseModel):
    """An answer that is stored. The run goes on by itself once it has all it waits for."""

    run_id: str
    tool_call_id: str
    answered_by: str | None
