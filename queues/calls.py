"""The calls of one pool, as its workers see them: claim, renew, settle. Touches no key outside the pool's own,
but for the continuation hint that the last settled call of a part sends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal

import redis

from agent_core.tools.execution import CallMetrics, CallOutcome, CallResult
from queues import keys
from queues.envelopes import continuation_envelope
from queues.leases import Standing, one_claim_by, standing_of
from queues.protocol import CallRequest, continuation_member, due_member
from queues.scripts import ScriptCall, Scripts
from queues.timing import Timing, milliseconds
from queues.topology import Lane, lane_named

Refusal = Literal["held", "backing_off", "settled", "buried", "cancelled", "missing"]


@dataclass(frozen=True)
class CallAddress:
    """Where a call lies: its pool, its idempotency key in three parts, and its tool's name."""

    pool: str
    run_id: str
    step: int
    tool_call_id: str
    tool_name: str

    @property
    def call(self) -> dict[str, str | int]:
        """The address without its pool, by name."""
        return {
            "run_id": self.run_id,
            "step": self.step,
            "tool_call_id": self.tool_call_id,
            "tool_name": self.tool_name,
        }

    @property
    def part(self) -> str:
        return keys.part(self.pool, self.run_id, self.step)

    @property
    def events(self) -> str:
        return keys.part_events(self.pool, self.run_id)

    @property
    def due(self) -> str:
        return keys.pool_due(self.pool)

    @property
    def due_member(self) -> str:
        return due_member(self.run_id, self.step, self.tool_call_id, self.tool_name)

    @property
    def continuation_member(self) -> str:
        return continuation_member(self.run_id, self.step)


@dataclass(frozen=True)
class ClaimedCall:
    """The right to execute a call, as long as its lease is renewed; `attempt` counts from 1 once it has begun."""

    address: CallAddress
    request: CallRequest
    epoch: str
    queue_wait_seconds: float
    agent: str
    lane: Lane
    attempt: int = 0

    def refused_by(self, *, asks_people: bool) -> CallResult | None:
        """What a pool that asks people first answers to a call that no run made, so that nobody was asked."""
        if not asks_people or self.agent:
            return None
        text = f"Pool {self.address.pool} asks a person before each call, and nobody was asked; submit a run instead."
        return CallResult(outcome=CallOutcome.DENIED, content=text, metrics=CallMetrics(pool=self.address.pool))


@dataclass(frozen=True)
class Output:
    """Pieces of what a call wrote, in order; `first` is the number of the first one, counted from 1 in each claim."""

    pieces: tuple[str, ...] = ()
    first: int = 1


_NO_OUTPUT = Output()


class Calls:
    """The state of a pool's calls. Every method may be repeated: a call settles once."""

    def __init__(self, connection: redis.Redis, *, timing: Timing, worker: str) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._timing = timing
        self._worker = worker

    def claim(self, address: CallAddress, *, owner: str | None = None) -> ClaimedCall | Refusal:
        """The lease of a queued call, or in a word why there is none; `backing_off`: its next try is not due yet.

        `owner` names this one claim (see `one_claim_by`, which it is by default).
        """
        verdict, *rest = self._scripts.row(
            "claim_call",
            [address.part, address.due],
            [
                address.tool_call_id,
                address.due_member,
                owner or one_claim_by(self._worker),
                milliseconds(self._timing.lease_seconds),
            ],
        )
        if verdict != "claimed":
            return _refusal(verdict)
        epoch, stored, waited, agent, lane = rest
        request = CallRequest.read(stored, address.call)
        return ClaimedCall(address, request, epoch, float(waited), agent, lane_named(lane))

    def begin(self, call: ClaimedCall, *, sandbox_level: str) -> ClaimedCall | Literal["cancelled", "lost"]:
        """Say that execution begins now: from here on the call may have an effect, and is not simply given to another.

        `cancelled` or `lost` mean that it must not begin.
        """
        address = call.address
        event = self._event(
            "ToolCallExecuting", address, sandbox_level=sandbox_level, queue_wait_seconds=call.queue_wait_seconds
        )
        verdict, *attempt = self._scripts.row(
            "begin_call",
            [address.part, address.events, address.due],
            [
                address.tool_call_id,
                call.epoch,
                json.dumps(event),
                milliseconds(self._timing.retention_seconds),
                address.due_member,
            ],
        )
        if verdict == "begun":
            return replace(call, attempt=int(attempt[0]))
        return "cancelled" if verdict == "cancelled" else "lost"

    def renewal(self, call: ClaimedCall) -> ScriptCall:
        """One heartbeat: whether the call is still this worker's, and still wanted."""
        address = call.address
        return ScriptCall(
            "renew_call",
            [address.part, address.due],
            [address.tool_call_id, call.epoch, address.due_member, milliseconds(self._timing.lease_seconds)],
        )

    def renew(self, call: ClaimedCall) -> Standing:
        """Carry one heartbeat out."""
        return standing_of(*self._scripts.words([self.renewal(call)]))

    def tell_output(self, call: ClaimedCall, output: Output) -> bool:
        """Show readers what the call writes while it is executed; a piece whose number was told is not told again.

        False if the call is not held any more: then nothing is told, and nothing will be.
        """
        address = call.address
        word = self._scripts.word(
            "tell_output",
            [address.part, address.events],
            [
                address.tool_call_id,
                call.epoch,
                milliseconds(self._timing.retention_seconds),
                *self._numbered(call, output),
            ],
        )
        return word == "told"

    def settle(
        self, call: ClaimedCall, result: CallResult, *, retry_after_seconds: float = 0, output: Output = _NO_OUTPUT
    ) -> str:
        """Write the answer down; the first writer wins. Says what came of it in one word.

        What of `output` was not told yet is told before it.

        `settled`, or `last` if it also sent the continuation; `retry` if it goes back to the queue after a wait;
        `already`, `stale` or `missing` if nothing was written, because somebody else's answer stands or the lease
        was lost.
        """
        address, metrics = call.address, result.metrics
        event = self._event(
            "ToolCallSettled",
            address,
            attempt=call.attempt,
            outcome=result.outcome,
            wall_seconds=metrics.wall_seconds,
            sandbox_level=metrics.sandbox_level,
        )
        continuation = continuation_envelope(call.agent, address.run_id, address.step, call.lane)
        return self._scripts.word(
            "settle_call",
            [address.part, address.due, address.events, continuation.queue],
            [
                address.tool_call_id,
                call.epoch,
                address.due_member,
                result.model_dump_json(),
                json.dumps(event),
                address.continuation_member,
                milliseconds(self._timing.repush_seconds),
                milliseconds(retry_after_seconds),
                continuation.render(),
                milliseconds(self._timing.retention_seconds),
                *self._numbered(call, output),
            ],
        )

    def _numbered(self, call: ClaimedCall, output: Output) -> list[str | int]:
        """The pieces as the scripts want them: the number of the first one, and an event for each."""
        events = (
            self._event("ToolCallOutput", call.address, attempt=call.attempt, content=piece) for piece in output.pieces
        )
        return [output.first, *(json.dumps(event, ensure_ascii=False) for event in events)]

    def _event(self, name: str, address: CallAddress, **fields: object) -> dict[str, object]:
        return call_event(name, address, worker=self._worker, **fields)


def call_event(name: str, address: CallAddress, **fields: object) -> dict[str, object]:
    """An event of the pool's own stream, before the script adds what only it knows."""
    return {
        "event": name,
        **address.call,
        "pool": address.pool,
        **fields,
    }


def _refusal(word: str) -> Refusal:
    match word:
        case "held" | "backing_off" | "settled" | "buried" | "cancelled" | "missing":
            return word
        case _:
            raise ValueError(f"claim_call answered {word!r}")
