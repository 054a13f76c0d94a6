"""Where what happens belongs in a trace: the W3C trace context, read, written and found; imports no OpenTelemetry.

Never makes a span. Whoever has none of this pays a look into a dictionary.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self

# Later versions may add to it, and are to be read as far as they are known; ff and ids of nothing but zeros are none.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_LONGEST = 512
_SAMPLED = 0x01

_given: ContextVar[str | None] = ContextVar("errandry_traceparent", default=None)


@dataclass(frozen=True)
class TracePlace:
    """A place in a trace under which spans may hang: that of a span, wherever it was or will be recorded."""

    trace_id: int
    span_id: int
    sampled: bool = True

    @classmethod
    def read(cls, traceparent: object) -> Self | None:
        """The place that a `traceparent` names; None for anything else, for anybody may have written it."""
        if not isinstance(traceparent, str) or len(traceparent) > _LONGEST:
            return None
        found = _TRACEPARENT.fullmatch(traceparent.strip())
        if found is None:
            return None
        trace_id, span_id, flags = (int(part, 16) for part in found.groups())
        return cls(trace_id, span_id, sampled=bool(flags & _SAMPLED))

    def below(self) -> TracePlace:
        """The place of another span below this one, with an id that nobody else has."""
        return TracePlace(self.trace_id, secrets.randbits(64) or 1, self.sampled)

    def written(self) -> str:
        """As a `traceparent`."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def traceparent_here() -> str | None:
    """The span that is active here, by OpenTelemetry if this process uses it, else what `under` was given."""
    # Whoever has an active span has loaded this, and whoever has not loaded it has none.
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is not None:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            return TracePlace(span.trace_id, span.span_id, sampled=bool(span.trace_flags & _SAMPLED)).written()
    return _given.get()


@contextmanager
def under(traceparent: str | None) -> Iterator[None]:
    """Within the block this is where things belong, unless a span is active; what is no traceparent counts as none."""
    place = TracePlace.read(traceparent)
    token = _given.set(place.written() if place is not None else None)
    try:
        yield
    finally:
        _given.reset(token)
