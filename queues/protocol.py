"""What travels to a pool: the request of one call, frozen, versioned and size-limited; carries no secret.

A Celery message holds ids only. The request lies in the pool's part, where the claim reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic_core import from_json

_ADDRESS = {"run_id", "step", "tool_call_id", "tool_name"}


class CallRequest(BaseModel):
    """One tool call as its pool gets it. `schema_number` grows with each change that older workers cannot read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_number: Literal[1] = 1
    run_id: str
    step: int
    tool_call_id: str
    tool_name: str
    tool_args: dict[str, JsonValue]
    timeout_seconds: float | None = None
    max_attempts: int = 1
    backoff_seconds: float = 1.0
    on_lost: Literal["report", "retry"] = "report"
    # Under which span it was handed out, where somebody traces. Releases that do not know it refuse a request with it.
    traceparent: str | None = None

    def stored(self) -> str:
        """The form in the part, whose key and field names say already which call it is; defaults are left out."""
        return self.model_dump_json(exclude_defaults=True, exclude=_ADDRESS)

    @classmethod
    def read(cls, stored: str, address: Mapping[str, str | int]) -> CallRequest:
        """The request of the call at this address (run_id, step, tool_call_id, tool_name), which no pool can forge."""
        return cls.model_validate({**from_json(stored), **address})

    @property
    def idempotency_key(self) -> str:
        """The same for each attempt of this call, for the tool to hand to an upstream API."""
        return f"{self.run_id}:{self.step}:{self.tool_call_id}"


def due_member(run_id: str, step: int, tool_call_id: str, tool_name: str) -> str:
    """How a call is written into its pool's due set."""
    return json.dumps([run_id, step, tool_call_id, tool_name])


def unapproved_member(pool: str, run_id: str, step: int, tool_call_id: str, tool_name: str) -> str:
    """How a call that is to be approved in time is written down."""
    return json.dumps([pool, run_id, step, tool_call_id, tool_name])


def continuation_member(run_id: str, step: int) -> str:
    """How a part that is answered, but perhaps not yet heard of, is written into its pool's due set."""
    return json.dumps([run_id, step])
