"""Calls that belong to no run: a producer hands one to its pool and waits for the answer itself.

Such a call lies in its pool's part under an id of its own, as the calls of a run do, so leases, retries and the sweep
are the same. Its part names no agent: the script that settles it sends no continuation. It goes by itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import redis

from agent_core.tools.execution import CallOutcome, CallResult, parse_answer
from queues.calls import CallAddress
from queues.parts import Part
from queues.protocol import CallRequest
from queues.scripts import Scripts
from queues.timing import Timing, milliseconds
from queues.topology import pool_queue

GONE = "Redis holds this call no longer. Whether it took effect is unknown. Check before you repeat it."
UNREADABLE = "The tool worker gave an answer that cannot be read."
_ANSWERED_SECONDS = 60.0  # so long late copies of a call that was waited for still learn that it is settled


@dataclass(frozen=True)
class LoneCall:
    """A call without a run, and the pool that executes it; `queue_seconds` is how long it may wait there."""

    pool: str
    request: CallRequest
    queue_seconds: float | None = None

    @property
    def address(self) -> CallAddress:
        """Where it lies."""
        request = self.request
        return CallAddress(self.pool, request.run_id, request.step, request.tool_call_id, request.tool_name)

    @property
    def fields(self) -> tuple[str, str]:
        """What `read_answer` wants to see of the part, in this order."""
        return f"state:{self.request.tool_call_id}", f"answer:{self.request.tool_call_id}"


class LoneCalls:
    """Hands such calls out. Every method may be repeated."""

    def __init__(self, connection: redis.Redis, *, timing: Timing) -> None:
        self._scripts = Scripts(connection)
        self._timing = timing

    def hand_out(self, call: LoneCall) -> None:
        """Store the call and put it into its pool's queue in one step.

        If whoever hands it out dies it is executed all the same; what is left of it goes with time.
        """
        address, request = call.address, call.request
        part = Part(
            pool=call.pool,
            run_id=request.run_id,
            step=request.step,
            lane="normal",
            parent_id=request.run_id,
            calls=(request,),
            queue_seconds=call.queue_seconds,
        )
        self._scripts.run(
            "hand_out_lone_call",
            [address.part, address.due, pool_queue(call.pool)],
            [
                json.dumps(part.render("")),
                milliseconds(self._timing.repush_seconds),
                milliseconds(self._timing.people_seconds),
            ],
        )

    def leave(self, call: LoneCall) -> CallResult | None:
        """Stop waiting: the answer, if it has come all the same; else None, and the call is cancelled in its pool.

        A worker that executes it hears of that with its next heartbeat.
        """
        address = call.address
        verdict, *answer = self._scripts.row(
            "leave_lone_call",
            [address.part, address.due, address.events],
            [
                address.tool_call_id,
                address.due_member,
                milliseconds(_ANSWERED_SECONDS),
                milliseconds(self._timing.answered_seconds),
            ],
        )
        return _read(answer[0]) if verdict == "answered" else None


def read_answer(state: str | None, answer: str | None) -> CallResult | None:
    """What the fields of a call say: its answer, that it is lost with its part, or None while it is awaited."""
    if answer is not None:
        return _read(answer)
    return CallResult(outcome=CallOutcome.LOST, content=GONE) if state is None else None


def _read(answer: str) -> CallResult:
    """What was told; a pool can write anything there."""
    try:
        result = parse_answer(answer)
    except ValueError:
        result = None
    if isinstance(result, CallResult):
        return result
    return CallResult(outcome=CallOutcome.FAILED, content=UNREADABLE)
