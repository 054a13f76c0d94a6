"""What executors and the gateway say to each other: the bodies, checked at the door. Decides nothing about calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from agent_core.tools.execution import CallOutcome
from queues.executor_calls import Held
from workers.gateway.bodies import Body, Json
from workers.gateway.pool_service import LONGEST_WAIT_SECONDS

Lease = Annotated[str, Field(min_length=1, max_length=4000, description="As the call was handed over with it.")]
ExecutorName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@:-]{0,79}$")]
Outcome = Literal[CallOutcome.SUCCEEDED, CallOutcome.FAILED, CallOutcome.TIMED_OUT]
_Seconds = Annotated[float, Field(ge=0, le=366 * 86400)]


class Claim(Body):
    """An executor that is free to execute one call."""

    executor: ExecutorName = Field(
        description="Its name, as people see it beside its calls; one for each process, say host and process id."
    )
    wait_seconds: float = Field(
        default=30, ge=0, le=LONGEST_WAIT_SECONDS, description="For so long the request is kept while no call comes."
    )


class HandedOver(BaseModel):
    """A call that this executor, and no other, is to execute now."""

    run_id: str
    step: int
    tool_call_id: str
    tool_name: str
    arguments: dict[str, JsonValue]
    idempotency_key: str = Field(description="The same for each attempt of this call, for what the tool calls itself.")
    attempt: int
    timeout_seconds: float = Field(description="Stop by then, and settle the call as timed_out.")
    deadline: datetime = Field(description="The same as a time, by the store's clock.")
    lease: str = Field(description="Opaque; to be sent with all that is said of this call.")
    lease_seconds: float = Field(description="Send a heartbeat every third of it; without any the call is lost.")
    path: str = Field(description="Where to send heartbeat, settle and release: this path, and that word behind it.")
    traceparent: str | None = Field(
        description="W3C trace context, if the run is traced: what the executor itself traces of this call hangs there."
    )


class OfLease(Body):
    """Whoever holds a call, by its lease."""

    lease: Lease


class HeardOf(BaseModel):
    """How a call stands."""

    standing: Held = Field(
        description="held: go on. cancelled: nobody wants it any more; stop, and release it. lost: it is no longer "
        "yours; stop, and say nothing more of it."
    )
    lease_seconds: float


class Measured(Body):
    """What the executor measured, as far as it did."""

    wall_seconds: _Seconds | None = Field(default=None, description="Left out: since the call was handed over.")
    cpu_seconds: _Seconds | None = None
    peak_memory_mb: float | None = Field(default=None, ge=0, le=1e9)
    exit_code: int | None = Field(default=None, ge=-(2**31), lt=2**32)


class CallSettlement(Body):
    """What came of a call."""

    lease: Lease
    outcome: Outcome
    content: Json = Field(description="What the model reads: text as it is, anything else as JSON.")
    metrics: Measured = Measured()


class Settled(BaseModel):
    """What became of an answer that was written down."""

    verdict: Literal["settled", "retry"] = Field(
        description="settled: this is the call's answer. retry: it went wrong, and is tried again after a while."
    )


class Released(BaseModel):
    """What became of a call that was given back."""

    verdict: Literal["released", "cancelled"]
