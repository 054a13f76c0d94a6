"""Cancelling runs, wherever they stand.

Never stops a tool that is being executed; its result comes too late, and the run goes no further.
"""

from agent_core.errors import StaleRunError
from agent_core.run import RunSnapshot, RunStatus
from agent_core.store import RunStore
from agent_core.tools.execution import CallOutcome, CallResult

_TRIES = 10
_REASON = "The run was cancelled."


def cancel(snapshot: RunSnapshot) -> None:
    """Make the run CANCELLED; calls that are still out are settled as cancelled."""
    for call in snapshot.calls:
        if not call.is_settled:
            call.settle(CallResult(outcome=CallOutcome.CANCELLED, content=_REASON))
    snapshot.output.status, snapshot.output.error = RunStatus.CANCELLED, _REASON


def cancel_run(store: RunStore, run_id: str) -> bool:
    """Cancel the run: one that waits at once, one that runs before its next step. False if it is over, or never was.

    Safe to repeat (True again), and against a run that pauses or goes on at the same moment.
    """
    while True:
        snapshot = store.load(run_id)
        if snapshot is None or snapshot.status.is_finished:
            return snapshot is not None and snapshot.status is RunStatus.CANCELLED
        if snapshot.status is RunStatus.RUNNING:
            store.request_cancel(run_id)
            return True
        if _save_cancelled(store, snapshot):
            return True


def give_up(store: RunStore, run_id: str) -> None:
    """Cancel a run whose only driver stops in the middle; a save of it that is still under way is waited out."""
    for _ in range(_TRIES):
        snapshot = store.load(run_id)
        if snapshot is None or snapshot.status is not RunStatus.RUNNING or _save_cancelled(store, snapshot):
            return


def _save_cancelled(store: RunStore, snapshot: RunSnapshot) -> bool:
    expected = snapshot.version
    cancel(snapshot)
    try:
        store.save(snapshot, expected_version=expected)
    except StaleRunError:
        return False
    return True
