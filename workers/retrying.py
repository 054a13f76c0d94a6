"""When a call that went wrong is tried again, whoever executed it. Decides by its rules alone, and stores nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

from agent_core.tools.execution import CallOutcome
from queues.calls import ClaimedCall

_BACKOFF_CAP_SECONDS = 300.0
_AT_ONCE_SECONDS = 0.001
_RETRIED = (CallOutcome.FAILED, CallOutcome.TIMED_OUT)


def retry_after(call: ClaimedCall, outcome: CallOutcome, *, jitter: Callable[[], float] = random.random) -> float:
    """Seconds until another attempt, 0 for none: exponential, with up to half of it taken off at random."""
    request = call.request
    if outcome is CallOutcome.LOST:
        return _AT_ONCE_SECONDS if request.on_lost == "retry" and call.attempt < request.max_attempts else 0
    if outcome not in _RETRIED or call.attempt >= request.max_attempts:
        return 0
    backoff = min(request.backoff_seconds * 2 ** (call.attempt - 1), _BACKOFF_CAP_SECONDS)
    return float(max(0.001, backoff * (1 - jitter() / 2)))
