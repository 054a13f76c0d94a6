"""The table of what operators see: names of telemetry events, with their fields, and the one way to tell them.

Never decides anything: a listener that is slow slows the work, and one that raises ends it, as tests of crashes want.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

# Around each state change there is an event before it, where a crash must lose nothing, and one after it, where it must
# double nothing.
EVENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # found: the status that the snapshot has: PENDING at the start, PAUSED after a pause, RUNNING after a death,
        # ERROR if it is retried
        "run.claimed": ("run_id", "epoch", "agent", "step", "found"),
        "run.saving": ("run_id", "step", "status"),
        "run.saved": ("run_id", "step", "status"),
        # status: as the run was left, or lost (to another worker, or with the store), or parked
        "run.left": ("run_id", "agent", "step", "status", "age_seconds"),
        # From outside, by whoever does not hold the run: cancelled, expired or buried; with where its spans belong.
        "run.ended": ("run_id", "agent", "step", "status", "age_seconds", "traceparent", "trace_began_at"),
        "model.asked": ("run_id", "step", "agent", "model"),
        # outcome: answered, failed, or stopped (nobody listens any more)
        "model.answered": (
            *("run_id", "step", "agent", "model", "outcome", "wall_seconds"),
            *("input_tokens", "output_tokens"),
        ),
        "inline.begun": ("run_id", "step", "tool_call_id", "tool_name"),
        "inline.executed": ("run_id", "step", "tool_call_id", "tool_name", "outcome", "wall_seconds"),
        "call.claimed": ("run_id", "step", "tool_call_id", "pool", "tool_name", "queue_wait_seconds"),
        "call.begun": ("run_id", "step", "tool_call_id", "pool", "tool_name", "attempt"),
        "call.executed": (
            *("run_id", "step", "tool_call_id", "pool", "tool_name", "attempt", "outcome"),
            *("wall_seconds", "sandbox_level"),
        ),
        # turnaround: from the queue to the answer, of this attempt
        "call.settled": (
            *("run_id", "step", "tool_call_id", "pool", "tool_name", "attempt", "outcome"),
            *("verdict", "turnaround_seconds"),
        ),
        "sandbox.started": ("pool", "sandbox_level"),  # a process for a call stands behind its wall
        "sandbox.refused": ("pool", "reason"),  # start: no worker could be; process: none for a call
        "sweep.looked": ("kind", "found", "pool"),  # pool: None for what no pool executes
        "lease.lost": ("kind",),  # run or call
    }
)

Listener = Callable[[str, Mapping[str, object]], None]
_listeners: list[Listener] = []


def listen(listener: Listener) -> Callable[[], None]:
    """Have the listener told of every event of this process from now on, in the thread where it happens.

    Returns what ends that; a repeat of it does nothing.
    """
    _listeners.append(listener)

    def end() -> None:
        if listener in _listeners:
            _listeners.remove(listener)

    return end


def emit(event: str, **fields: object) -> None:
    """Tell an event of the table with exactly its fields; ValueError for any other, so that the table stays true."""
    if tuple(fields) != EVENTS.get(event):
        raise ValueError(f"telemetry event {event!r} with {tuple(fields)} is not in the table of agent_core.telemetry")
    for listener in _listeners:
        listener(event, fields)
