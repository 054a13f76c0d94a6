"""The moments of one run with one call, from its record and its events, in nanoseconds of the machine's clock.

The model writes down when it is asked (in the call's arguments, and as its final text), the tool when it begins. What
the server wrote (when a call was settled) is known to the millisecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from agent_core.events import RunContinued, RunEvent, ToolCallSettled
from agent_core.run import RunOutput
from workers.bench.errors import BenchError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Moments:
    """When what happened in a run of one call."""

    submitted: int
    model_asked: int
    tool_began: int
    settled: int
    continued: int
    model_asked_again: int

    @classmethod
    def of(cls, submitted: int, output: RunOutput, events: Sequence[RunEvent]) -> Moments:
        """Those of a run that was submitted then; BenchError if it did not go as it should."""
        (call,) = output.tools
        settled = next((event for event in events if isinstance(event, ToolCallSettled)), None)
        continued = next((event for event in events if isinstance(event, RunContinued)), None)
        if settled is None or continued is None:
            raise BenchError(f"Run {output.run_id} does not tell of its call and of its continuation.")
        return cls(
            submitted=submitted,
            model_asked=int(str(call.tool_args["asked_at"])),
            tool_began=int(str(call.result)),
            settled=_nanoseconds(settled.created_at),
            continued=_nanoseconds(continued.created_at),
            model_asked_again=int(str(output.content)),
        )


def _nanoseconds(moment: datetime) -> int:
    # Not by way of a float, which has no room for them.
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
