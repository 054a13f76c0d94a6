"""Looks at a run, as generators that ask Redis: what its readers need of it, and all of it. Waits for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from agent_core.run import RunSnapshot, RunStatus
from queues import keys
from queues.requests import Asking, Lookup
from queues.stored_runs import FIELDS, StoredRun, log_fields, not_found, read_run


@dataclass(frozen=True)
class RunBrief:
    """A run without its conversation, which may be long: whoever reads its events needs no more."""

    run_id: str
    agent_name: str
    session_id: str | None
    status: RunStatus


def brief_of(run_id: str) -> Asking[RunBrief]:
    """Return the run in short; RunNotFoundError if there is none (or no longer). Says at once if the server is away."""
    found: Sequence[str | None] = yield Lookup(("HMGET", keys.run(run_id), "status", "snapshot"), at_once=True)
    status, snapshot = found
    if status is None or snapshot is None:
        raise not_found(run_id)
    # Read by name alone: all that a conversation holds would be checked otherwise.
    try:
        output = from_json(snapshot)["output"]
        return RunBrief(run_id, output["agent_name"], output.get("session_id"), RunStatus(status))
    except (LookupError, TypeError, AttributeError, ValueError):
        RunSnapshot.from_json(snapshot)  # which says what is wrong with it
        raise


def whole(run_id: str, found: Sequence[str | None]) -> Asking[StoredRun]:
    """Return the run whose hash holds these `FIELDS`, asking for what is in its log; RunNotFoundError as `read_run`."""
    names = log_fields(found[FIELDS.index("logged")])
    log: Sequence[str | None] = (yield Lookup(("HMGET", keys.run(run_id), *names))) if names else ()
    return read_run(run_id, found, log)
