"""What is said between the agent and a model, independent of any provider.

Never knows a provider's wire format: `agent_core.models` translates.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ToolCall(BaseModel):
    """A model's request to call a tool; `arguments` is the JSON text as the model wrote it."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    arguments: str = "{}"


class Message(BaseModel):
    """One message of a run, in the order in which the model saw it."""

    model_config = ConfigDict(frozen=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_name: str | None = None
    tool_call_error: bool = False
    finish_reason: str | None = None
    from_history: bool = Field(default=False, description="Brought along from an earlier run of the session.")


class Usage(BaseModel):
    """Tokens and model calls; adding two gives the usage of both together."""

    model_config = ConfigDict(frozen=True)

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = Field(default=0, description="Those of the input tokens that the provider had cached.")
    reasoning_tokens: int = Field(default=0, description="Those of the output tokens that were spent on reasoning.")
    model_calls: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})
