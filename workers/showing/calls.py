"""Tool calls in words: the call, where its answer comes from, who gave it, and how a person gives it."""

from __future__ import annotations

from collections.abc import Iterable

from agent_core.tools.execution import ToolExecution
from workers.showing.amounts import moment

Place = tuple[int, str]
"""Step and id of a call, since providers use ids again."""

_ARGUMENT_CHARACTERS = 60


def place_of(call: ToolExecution) -> Place:
    """What tells the calls of a run apart."""
    return call.step, call.tool_call_id


def call_words(call: ToolExecution) -> str:
    """A call as one would write it, with its arguments cut short."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.tool_args.items())
    if len(arguments) > _ARGUMENT_CHARACTERS:
        arguments = f"{arguments[: _ARGUMENT_CHARACTERS - 1]}…"
    return f"{call.tool_name}({arguments})"


def place_words(call: ToolExecution) -> str:
    """Where the answer to a call comes from."""
    if call.requires_confirmation:
        return "a person's yes or no"
    if call.requires_user_input:
        return "a person's input"
    if call.requires_approval and call.confirmed is None:
        return f"a person's approval for pool {call.pool}"
    if not call.external_execution_required:
        return "the agent worker"
    return f"pool {call.pool}" if call.pool else "a person's result"


def awaited(calls: Iterable[ToolExecution]) -> str:
    """What a run waits for: where the answers to those of the calls come from that have none, each place once."""
    return ", ".join(dict.fromkeys(place_words(call) for call in calls if call.is_paused)) or "its results"


def by(name: str | None) -> str:
    """Who did something, to stand behind the verb."""
    return f" by {name or 'a person'}"


def decision_of(call: ToolExecution) -> str:
    """What a person did about a call, once they did something."""
    return {True: "approved", False: "denied", None: "answered"}[call.confirmed]


def signature(call: ToolExecution) -> str:
    """Who answered a call, and when; nothing where no person did."""
    if call.answered_at is None:
        return ""
    changes = " with changed arguments" if call.requested_args is not None else ""
    return f"; {decision_of(call)}{by(call.answered_by)}{changes} at {moment(call.answered_at)}"


def ways_to_answer(run_id: str, calls: Iterable[ToolExecution]) -> list[str]:
    """The command that answers each call that waits for a person."""
    ways = []
    for call in calls:
        if not call.is_paused:
            continue
        address = f"{run_id} {call.tool_call_id}"
        if call.requires_confirmation or (call.requires_approval and call.confirmed is None):
            ways.append(f"errandry approve {address}      (or: errandry deny {address} --note '…')")
        elif call.requires_user_input:
            wanted = " ".join(f"{field.name}=…" for field in call.user_input_schema or ())
            ways.append(f"errandry answer {address} {wanted}")
        elif call.pool is None:
            ways.append(f"errandry settle {address} --result '…'      (or --error)")
    return ways
