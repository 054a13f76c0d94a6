"""Where an agent worker writes a run down as it goes on: each save of the loop becomes one script; runs no tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent_core.cancelling import cancel
from agent_core.errors import StaleRunError
from agent_core.events import RunEvent, RunPaused, ToolCallStarted
from agent_core.run import RunSnapshot, RunStatus
from agent_core.telling import pause_words
from agent_core.tools.execution import ToolExecution
from agent_core.tools.function import Function
from queues.claims import ClaimedRun, Claims
from queues.connections import insist
from queues.endings import EXPIRED, cancelled, failed, failure_event
from queues.leases import Lease
from queues.parts import Routing, parts_of
from queues.run_store import RedisRunStore


class QueueJournal:
    """The journal of one claimed run (the `Journal` of `agent_core.drive`), fenced by its claim."""

    def __init__(
        self,
        claims: Claims,
        run: ClaimedRun,
        *,
        store: RedisRunStore,
        functions: Mapping[str, Function],
        routing: Routing,
        lease: Lease,
        task_id: str,
    ) -> None:
        self._claims = claims
        self._run = run
        self._store = store
        self._functions = functions
        self._routing = routing
        self._lease = lease
        self._task_id = task_id
        self._telling = claims.telling(run)
        self._untold: list[RunEvent] = []  # heard since the last save and not written by the teller: the next save's
        self._told: Sequence[RunEvent] = ()

    @property
    def run(self) -> ClaimedRun:
        """The run as it was saved last."""
        return self._run

    def save(
        self, snapshot: RunSnapshot, dispatch: Sequence[ToolExecution] = (), events: Sequence[RunEvent] = ()
    ) -> RunSnapshot:
        """Save as the snapshot's status asks, hand out the calls and tell the events, all in one step.

        What was paid for is not thrown away because Redis is away for a while: the save is repeated. One that was
        done, and whose answer was lost, is answered as the first time.
        StaleRunError if the run was lost to another worker. What `tell` was given before is told before the events.
        """
        self._untold += self._telling.take()
        self._name_pools(snapshot, dispatch, events)
        parts = parts_of(
            self._run.run_id,
            dispatch,
            functions=self._functions,
            routing=self._routing,
            lane=self._run.lane,
            parent_id=self._task_id,
        )
        asked_for = events
        if snapshot.status is RunStatus.CANCELLED:
            snapshot, events = self._truly_ended(snapshot, events)
        told = [*self._untold, *events]
        match snapshot.status:
            case RunStatus.PAUSED:
                self._run = insist(lambda: self._claims.pause(self._run, snapshot, parts, told))
                if self._run.cancel_reason:
                    return self._cancel_instead(snapshot, events)
            case RunStatus.COMPLETED | RunStatus.ERROR | RunStatus.CANCELLED:
                self._run = insist(lambda: self._claims.finish(self._run, snapshot, told))
            case _:
                self._run = insist(lambda: self._claims.checkpoint(self._run, snapshot, parts, told))
        # Those that gave way to the true end count as told: a run has one end.
        self._told, self._untold = [*asked_for, *events], []
        snapshot.version = int(self._run.version)
        return snapshot

    def _cancel_instead(self, snapshot: RunSnapshot, events: Sequence[RunEvent]) -> RunSnapshot:
        """End a run that was about to pause: its readers are told of the end, and not of what it did not come to."""
        cancel(snapshot)
        saved = self.save(snapshot)
        self._told = [*self._told, *events]
        return saved

    def _truly_ended(self, snapshot: RunSnapshot, events: Sequence[RunEvent]) -> tuple[RunSnapshot, Sequence[RunEvent]]:
        """The end with its true reason: the loop knows only that it was to stop."""
        reason = self._claims.cancel_reason(self._run)
        if reason == EXPIRED:
            failed(snapshot, "expired: the run was not done by its deadline")
            return snapshot, [failure_event(snapshot)]
        if reason:
            ending = cancelled(snapshot, reason=reason)
            return snapshot, [ending.event]
        return snapshot, events

    def fail(self, reason: str) -> None:
        """End the run in ERROR as it was saved last."""
        snapshot = failed(self._run.snapshot, reason)
        self.save(snapshot, events=[failure_event(snapshot)])

    def history(self, session_id: str, *, limit: int) -> list[RunSnapshot]:
        """The last completed runs of a session, oldest first."""
        return self._store.history(session_id, limit=limit)

    def is_cancelled(self, run_id: str) -> bool:
        """Whether a producer asked for the end of this run, as far as the last save or heartbeat told."""
        return bool(self._run.cancel_reason) or self._lease.standing == "cancelled"

    def tell(self, event: RunEvent) -> None:
        """Show an event to the run's readers, soon, unless a save has told it already.

        StaleRunError if the run was lost to another worker: what is still heard of it here is for nobody.
        """
        if not any(event is told for told in self._told) and not self._telling.add(event):
            raise StaleRunError(f"run {self._run.run_id} is carried on by another worker; this one lost its lease")

    def _name_pools(self, snapshot: RunSnapshot, dispatch: Sequence[ToolExecution], events: Sequence[RunEvent]) -> None:
        """Write on the calls what the loop cannot know: where they go, and whether a person is asked first."""
        started = [event.tool for event in events if isinstance(event, ToolCallStarted)]
        for call in (*dispatch, *started):
            if call.external_execution_required:
                call.pool = self._routing.pools.get(call.tool_name)
                # A call for which a person was to be asked stays one: they may have changed its arguments.
                call.requires_approval |= call.pool in self._routing.approvals
        for event in events:
            if isinstance(event, RunPaused):
                event.content = pause_words(snapshot)
