"""The spans of calls of pools: the wait in the queue, what came of the call under one claim, and the sandbox within.

A tool worker sees all of it; a gateway tells what an executor did when it hears the answer, whoever handed it over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from agent_core.tools.execution import CallResult
from queues.calls import ClaimedCall
from queues.executor_calls import LEVEL, LentCall
from queues.topology import pool_queue
from queues.tracing import TracePlace
from workers.exporters import genai
from workers.exporters.span_sink import (
    ATTEMPT,
    LEVEL_OF_SANDBOX,
    OUTCOME,
    POOL,
    RUN_ID,
    STEP,
    VERDICT,
    Attributes,
    SpanSink,
    error_of,
)
from workers.exporters.trace_ids import parent_of, place_of

Told = Mapping[str, object]
_Key = tuple[object, object, object]


@dataclass
class Claim:
    """One claim of a call, as far as it has come."""

    place: TracePlace
    parent: TracePlace | None
    began_ns: int
    tool_name: str
    attributes: Attributes
    begun_ns: int | None = None


class CallSpans:
    """The calls that this process executes, or lends to executors."""

    def __init__(self, sink: SpanSink, *, clock: Callable[[], int]) -> None:
        self._sink = sink
        self._clock = clock
        self._claims: dict[_Key, Claim] = {}
        self.heard: Mapping[str, Callable[[Told], None]] = {
            "call.begun": self._begun,
            "call.executed": self._executed,
            "call.settled": self._settled,
        }

    def begin(self, call: ClaimedCall) -> Claim:
        """A tool worker has claimed the call."""
        claim = self._claim(call, self._clock())
        self._claims[_key_of(call)] = claim
        self._tell_wait(call, claim)
        return claim

    def end(self, call: ClaimedCall, claim: Claim) -> None:
        """The worker has let go of the call, settled or not."""
        if self._claims.get(key := _key_of(call)) is claim:  # else it was lost, and claimed here once more
            del self._claims[key]
        self._tell(claim, self._clock())

    def lent(self, call: ClaimedCall) -> TracePlace:
        """The call is handed to an executor; returns the place of what that does."""
        claim = self._claim(call, self._clock())
        self._tell_wait(call, claim)
        return claim.place

    def returned(self, lent: LentCall, result: CallResult, verdict: str) -> None:
        """An executor has answered; what is said under a lease that is not held is nobody's part."""
        if not lent.is_held:
            return
        now = self._clock()
        claim = self._claim(lent.call, min(now, lent.begun_ms * 1_000_000))
        claim.attributes |= {
            ATTEMPT: lent.call.attempt,
            OUTCOME: result.outcome.value,
            VERDICT: verdict,
            LEVEL_OF_SANDBOX: LEVEL,
        }
        self._tell(claim, now)

    def _claim(self, call: ClaimedCall, began_ns: int) -> Claim:
        address, place = call.address, place_of(call)
        # Whoever handed it out has decided for the whole trace; if nobody traced so far, it is decided here.
        named = TracePlace.read(call.request.traceparent)
        place = replace(place, sampled=self._sink.samples(place.trace_id, named))
        attributes: Attributes = {
            RUN_ID: address.run_id,
            STEP: address.step,
            POOL: address.pool,
            **genai.tool_call(address.tool_name, address.tool_call_id),
        }
        if call.agent:
            attributes[genai.AGENT_NAME] = call.agent
        return Claim(place, parent_of(call), began_ns, address.tool_name, attributes)

    def _tell_wait(self, call: ClaimedCall, claim: Claim) -> None:
        """Beside the claim and not below it: the wait is over when the claim begins."""
        since = claim.began_ns - int(call.queue_wait_seconds * 1e9)
        names = (RUN_ID, STEP, POOL, genai.TOOL_NAME, genai.TOOL_CALL_ID)
        self._sink.tell(
            f"queue {pool_queue(call.address.pool, call.lane)}",
            claim.place.below(),
            claim.parent,
            (since, claim.began_ns),
            {name: claim.attributes[name] for name in names},
        )

    def _tell(self, claim: Claim, end_ns: int) -> None:
        outcome = claim.attributes.get(OUTCOME)
        self._sink.tell(
            genai.span_name(genai.EXECUTE_TOOL, claim.tool_name),
            claim.place,
            claim.parent,
            (claim.began_ns, end_ns),
            claim.attributes,
            error=error_of(str(outcome)) if outcome is not None else None,
        )

    # What is heard ------------------------------------------------------------------------------------------------

    def _begun(self, told: Told) -> None:
        if (claim := self._claims.get(_key(told))) is not None:
            claim.begun_ns = self._clock()
            claim.attributes[ATTEMPT] = cast(int, told["attempt"])

    def _executed(self, told: Told) -> None:
        claim = self._claims.get(_key(told))
        if claim is None or claim.begun_ns is None:
            return
        outcome = str(told["outcome"])
        level = {LEVEL_OF_SANDBOX: str(told["sandbox_level"])}
        claim.attributes |= level
        self._sink.tell(
            f"sandbox {claim.tool_name}",
            claim.place.below(),
            claim.place,
            (claim.begun_ns, self._clock()),
            {**{name: claim.attributes[name] for name in (RUN_ID, STEP, POOL, ATTEMPT)}, **level, OUTCOME: outcome},
            error=error_of(outcome),
        )

    def _settled(self, told: Told) -> None:
        if (claim := self._claims.get(_key(told))) is not None:
            claim.attributes |= {OUTCOME: str(told["outcome"]), VERDICT: str(told["verdict"])}


def _key(told: Told) -> _Key:
    return told["run_id"], told["step"], told["tool_call_id"]


def _key_of(call: ClaimedCall) -> _Key:
    return call.address.run_id, call.address.step, call.address.tool_call_id
