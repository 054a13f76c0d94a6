"""Which trace a run belongs to, and the ids of its spans, made from ids that every process knows; tells of no span.

So nothing has to be stored for a trace to hold together: not across processes, pauses and dead workers, nor for a
parent to be told of after its children.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from agent_core.run import RunSnapshot
from queues.calls import ClaimedCall
from queues.tracing import TracePlace


@dataclass(frozen=True)
class RunTrace:
    """The trace under way of a run: where its root hangs, since when, and below what of the producer's.

    The first one begins with the run, and is the producer's own if that has one. After a long pause, or a retry,
    another one begins; it has no parent, and `first` names the root of the first one.
    """

    root: TracePlace
    parent: TracePlace | None
    began_at: datetime
    first: TracePlace | None = None

    @classmethod
    def of(cls, snapshot: RunSnapshot) -> Self:
        """That of the run as it is stored."""
        return cls.named(
            snapshot.run_id,
            created_at=snapshot.output.created_at,
            traceparent=snapshot.traceparent,
            began_at=snapshot.trace_began_at,
        )

    @classmethod
    def named(cls, run_id: str, *, created_at: datetime, traceparent: str | None, began_at: datetime | None) -> Self:
        """That of the run with these values."""
        parent = TracePlace.read(traceparent)
        first = TracePlace(
            parent.trace_id if parent is not None else _number(16, "trace", run_id),
            _number(8, "run", run_id),
            parent is None or parent.sampled,
        )
        if began_at is None:
            return cls(first, parent, created_at)
        since = str(nanoseconds(began_at))
        root = TracePlace(_number(16, "trace", run_id, since), _number(8, "run", run_id, since), first.sampled)
        return cls(root, None, began_at, first)

    def stretch(self, run_id: str, began_at: datetime) -> TracePlace:
        """The place of what one worker did under one claim, which is known by when it began."""
        return TracePlace(
            self.root.trace_id, _number(8, "stretch", run_id, str(nanoseconds(began_at))), self.root.sampled
        )


def parent_of(call: ClaimedCall) -> TracePlace | None:
    """What a call hangs below: what handed it out, if that was traced, else its run; None for a call without a run."""
    request = call.request
    if (named := TracePlace.read(request.traceparent)) is not None:
        return named
    return TracePlace(_number(16, "trace", request.run_id), _number(8, "run", request.run_id)) if call.agent else None


def place_of(call: ClaimedCall) -> TracePlace:
    """The place of one claim of a call, the same in every process."""
    address, parent = call.address, parent_of(call)
    claim = (address.run_id, str(address.step), address.tool_call_id, call.epoch)
    trace_id = parent.trace_id if parent is not None else _number(16, "trace", address.run_id)
    return TracePlace(trace_id, _number(8, "call", *claim), parent is None or parent.sampled)


def nanoseconds(moment: datetime) -> int:
    """The moment as spans have it."""
    return int(moment.timestamp() * 1_000_000) * 1000


def moment(nanoseconds: int) -> datetime:
    """The moment as snapshots have it."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def _number(size: int, *words: str) -> int:
    digest = hashlib.blake2b("\0".join(("errandry", *words)).encode(), digest_size=size).digest()
    return int.from_bytes(digest, "big") or 1
