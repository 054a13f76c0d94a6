"""What is posted of a run: how it ended, or which answers of people it waits for. Sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import ToolExecution
from queues.runs import Runs
from queues.stored_runs import StoredRun
from queues.webhooks import Announcement

# A body that receivers take; what is over this is left out, and named as omitted.
_MOST_BYTES = 256 * 1024
_TYPES = {
    RunStatus.COMPLETED: "run.completed",
    RunStatus.ERROR: "run.failed",
    RunStatus.CANCELLED: "run.cancelled",
    RunStatus.PAUSED: "run.paused",
}


def payload(announcement: Announcement, stored: StoredRun, runs: Runs) -> bytes | None:
    """The body of a delivery; None if there is nothing to tell any more: the run no longer waits for anybody.

    An end is told even if the run was retried since; its content and error are those of a later stretch then, and left
    out.
    """
    output = stored.snapshot.output
    stands = str(stored.snapshot.version) == announcement.version and output.status is announcement.status
    told = _common(announcement, output)
    if announcement.status is RunStatus.PAUSED:
        waited_for = [call for call in runs.unanswered(stored) if call.waits_for_person] if stands else []
        if not waited_for:
            return None
        told["pending"] = _pending(waited_for)
    elif stands:
        ended = output.model_dump(mode="json", include={"content", "error"})
        told["error"] = ended["error"]
        _put(told, "content", ended["content"])
    return to_json(
        {
            "type": _TYPES[announcement.status],
            "timestamp": announcement.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": told,
        }
    )


def _common(announcement: Announcement, output: RunOutput) -> dict[str, Any]:
    told: dict[str, Any] = {
        "run_id": output.run_id,
        "agent_name": output.agent_name,
        "status": announcement.status.value,
        "session_id": output.session_id,
        "user_id": output.user_id,
    }
    _put(told, "metadata", output.metadata)
    return told


def _pending(calls: Sequence[ToolExecution]) -> list[dict[str, Any]]:
    found = []
    for call in calls:
        described: dict[str, Any] = {
            "tool_call_id": call.tool_call_id,
            "tool_name": call.tool_name,
            "waits_for": _waits_for(call),
        }
        _put(described, "tool_args", call.tool_args)
        if call.requires_user_input:
            described["fields"] = [field.model_dump(mode="json") for field in call.user_input_schema or []]
        found.append(described)
    return found


def _waits_for(call: ToolExecution) -> str:
    if call.requires_approval or call.requires_confirmation:
        return "confirmation"
    return "input" if call.requires_user_input else "result"


def _put(told: dict[str, Any], name: str, value: object) -> None:
    if len(to_json(value)) <= _MOST_BYTES:
        told[name] = value
    else:
        told.setdefault("omitted", []).append(name)
