"""Runs as the agent worker that holds one sees it: claim, renew, save. A claim's epoch stands in every write.

Whoever has lost the run to another claim writes nothing any more: each save raises StaleRunError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import redis

from agent_core.errors import SnapshotSchemaError, StaleRunError
from agent_core.events import RunEvent
from agent_core.run import RunSnapshot
from agent_core.snapshot_log import join, split
from agent_core.telemetry import emit
from agent_core.tools.execution import CallAnswer, CallOutcome, CallResult, Confirmation, ToolExecution, parse_answer
from queues import keys
from queues.envelopes import continuation_envelope
from queues.leases import Standing, one_claim_by, standing_of
from queues.parts import Part
from queues.replies import fields, now_ms
from queues.scripts import ScriptCall, Scripts
from queues.stored_events import stored_event
from queues.teller import Teller, Telling
from queues.timing import Timing, milliseconds
from queues.topology import Lane, agents_queue, lane_named

Refusal = Literal["held", "waiting", "finished", "missing", "poisonous", "unreadable"]

_UNREADABLE = CallResult(outcome=CallOutcome.FAILED, content="The tool worker gave an answer that cannot be read.")


@dataclass(frozen=True)
class ClaimedRun:
    """The right to carry a run on. `answers` holds those of the step that it paused at, by tool_call_id."""

    run_id: str
    agent: str
    lane: Lane
    epoch: str
    version: str
    snapshot: RunSnapshot
    answers: Mapping[str, CallAnswer]
    cancel_reason: str = ""


class Claims:
    """What an agent worker may do to runs. Every method may be repeated."""

    def __init__(self, connection: redis.Redis, *, timing: Timing) -> None:
        self._connection = connection
        self._scripts = Scripts(connection)
        self._teller = Teller(self._scripts)
        self._timing = timing

    def announce(self, agents: Sequence[str], *, valid_seconds: float) -> None:
        """Tell producers which agents are served, for the given time from now."""
        until = now_ms(self._connection) + milliseconds(valid_seconds)
        self._connection.hset(keys.AGENTS, mapping=dict.fromkeys(agents, until))

    def claim(self, run_id: str, *, owner: str) -> ClaimedRun | Refusal:
        """The lease of a run that can go on, or why not: held, waiting, finished, unknown, or deadly to its holders."""
        verdict, *rest = self._scripts.row(
            "claim_run",
            [keys.run(run_id), keys.DUE, keys.DEADLINES, keys.STATES],
            [run_id, one_claim_by(owner), milliseconds(self._timing.lease_seconds)],
        )
        match verdict:
            case "claimed":
                try:
                    run = _claimed(run_id, rest)
                except SnapshotSchemaError as error:
                    # Written by a newer release: a worker of that release may go on, this one must not hold it.
                    self._park(run_id, f"parked: {error}", epoch=rest[0])
                    return "unreadable"
                snapshot = run.snapshot
                found = snapshot.output.status.value
                emit("run.claimed", run_id=run_id, epoch=run.epoch, agent=run.agent, step=snapshot.step, found=found)
                return run
            case "held" | "waiting" | "finished" | "missing" | "poisonous":
                return verdict
            case _:
                raise ValueError(f"claim_run answered {verdict!r}")

    def step(self, run_id: str) -> str | None:
        """The step at which a run was saved last; None if it was not saved since its start."""
        return fields(self._connection, keys.run(run_id), "step")[0]

    def renewal(self, run: ClaimedRun) -> ScriptCall:
        """One heartbeat: whether the run is still this worker's, and still wanted."""
        return ScriptCall(
            "renew_run",
            [keys.run(run.run_id), keys.DUE],
            [run.run_id, run.epoch, milliseconds(self._timing.lease_seconds)],
        )

    def renew(self, run: ClaimedRun) -> Standing:
        """Carry one heartbeat out."""
        return standing_of(*self._scripts.words([self.renewal(run)]))

    def cancel_reason(self, run: ClaimedRun) -> str:
        """Why the end of a held run was asked for; empty if it was not."""
        return fields(self._connection, keys.run(run.run_id), "cancel_reason")[0] or ""

    def telling(self, run: ClaimedRun) -> Telling:
        """What the run's readers are told between its saves; of a worker that lost the run they hear nothing."""
        return self._teller.telling(run.run_id, run.epoch)

    def checkpoint(
        self, run: ClaimedRun, snapshot: RunSnapshot, parts: Sequence[Part], events: Sequence[RunEvent]
    ) -> ClaimedRun:
        """Save in the middle of a run, handing out its calls; parts that it no longer waits for retire."""
        waiting = _waiting(parts) if parts else "keep" if snapshot.pending else ""
        specifics: list[str | int] = [
            waiting,
            self._rendered(run, parts),
            milliseconds(self._timing.repush_seconds),
            milliseconds(self._timing.answered_seconds),
        ]
        return self._save("checkpoint_run", [], run, snapshot, specifics, events)

    def pause(
        self, run: ClaimedRun, snapshot: RunSnapshot, parts: Sequence[Part], events: Sequence[RunEvent]
    ) -> ClaimedRun:
        """Save, hand out and let go in one step; the continuation is sent at once if the answers are in already.

        If the run's end was asked for, nothing is done, and `cancel_reason` of the returned run says why.
        """
        specifics: list[str | int] = [
            _waiting(parts) if parts else "keep",
            self._rendered(run, parts),
            milliseconds(self._timing.repush_seconds),
            run.run_id,
            continuation_envelope(run.agent, run.run_id, snapshot.step, run.lane).render(),
            milliseconds(self._timing.people_seconds) if _waits_for_people(snapshot) else "",
        ]
        more_keys = [
            keys.DUE,
            agents_queue(run.lane),
            keys.DEADLINES,
            keys.WEBHOOKS,
            keys.WEBHOOKS_WAKE,
            keys.STATES,
        ]
        return self._save("pause_run", more_keys, run, snapshot, specifics, events)

    def finish(self, run: ClaimedRun, snapshot: RunSnapshot, events: Sequence[RunEvent]) -> ClaimedRun:
        """Save a run's end; from here on it is only kept for its retention."""
        session_id = snapshot.output.session_id or ""
        specifics: list[str | int] = [
            run.run_id,
            snapshot.output.status.value,
            milliseconds(self._timing.retention_seconds),
            session_id,
        ]
        more_keys = [
            keys.DUE,
            keys.DEADLINES,
            keys.EXPIRING,
            keys.session(session_id),
            keys.WEBHOOKS,
            keys.WEBHOOKS_WAKE,
            keys.STATES,
        ]
        return self._save("finish_run", more_keys, run, snapshot, specifics, events)

    def park(self, run_id: str, reason: str, *, run: ClaimedRun | None = None) -> None:
        """Set a run aside that no worker at hand can carry on; another one is offered it after a while.

        With `run` by its holder; without, a run that is held is left alone.
        """
        self._park(run_id, reason, epoch=run.epoch if run else "")

    def release(self, run: ClaimedRun) -> bool:
        """Let go of a run and offer it to another worker at once; whatever this holder still writes is refused.

        False if it is not held by this claim any more. The next holder goes on from the last save, and reports the
        inline calls that were under way as lost, as after a death; but it does not count as one.
        """
        envelope = continuation_envelope(run.agent, run.run_id, run.snapshot.step, run.lane)
        word = self._scripts.word(
            "release_run",
            [keys.run(run.run_id), keys.DUE, envelope.queue, keys.STATES],
            [run.run_id, run.epoch, envelope.render(), milliseconds(self._timing.repush_seconds)],
        )
        return word == "released"

    def _park(self, run_id: str, reason: str, *, epoch: str) -> None:
        self._scripts.run(
            "park_run",
            [keys.run(run_id), keys.DUE, keys.STATES],
            [run_id, epoch, reason, milliseconds(self._timing.parked_seconds)],
        )

    def _rendered(self, run: ClaimedRun, parts: Sequence[Part]) -> str:
        return json.dumps([part.render(run.agent) for part in parts])

    def _save(
        self,
        script: str,
        more_keys: list[str],
        run: ClaimedRun,
        snapshot: RunSnapshot,
        specifics: list[str | int],
        events: Sequence[RunEvent],
    ) -> ClaimedRun:
        told = {"run_id": run.run_id, "step": snapshot.step, "status": snapshot.status.value}
        emit("run.saving", **told)
        stored = split(snapshot)
        verdict, *reply = self._scripts.row(
            script,
            [keys.run(run.run_id), keys.events(run.run_id), *more_keys],
            [
                run.epoch,
                run.version,
                stored.head,
                stored.log,
                snapshot.step,
                *specifics,
                *map(stored_event, events),
            ],
        )
        if verdict == "cancelled":
            return replace(run, cancel_reason=reply[1])
        if verdict != "saved":
            raise StaleRunError(f"run {run.run_id} is carried on by another worker; this one lost its lease")
        snapshot.logged = stored.logged
        emit("run.saved", **told)
        version, cancel_reason = reply
        return replace(run, version=version, snapshot=snapshot, cancel_reason=cancel_reason)


def _waits_for_people(snapshot: RunSnapshot) -> bool:
    return any(call.waits_for_person for call in snapshot.pending)


def _waiting(parts: Sequence[Part]) -> str:
    listed = [{"key": part.key, "calls": [call.tool_call_id for call in part.calls]} for part in parts]
    return json.dumps(listed, separators=(",", ":"))


def _claimed(run_id: str, reply: Sequence[str]) -> ClaimedRun:
    epoch, version, head, agent, lane, logged, *rest = reply
    log, flat = rest[: int(logged)], rest[int(logged) :]
    snapshot = join(head, log)
    snapshot.version = int(version)
    told: dict[str, list[str]] = {}
    for call_id, answer in zip(flat[::2], flat[1::2], strict=True):
        told.setdefault(call_id, []).append(answer)
    answers = {call.tool_call_id: _answer(call, told[call.tool_call_id]) for call in snapshot.pending if told}
    return ClaimedRun(run_id, agent, lane_named(lane), epoch, version, snapshot, answers)


def _answer(call: ToolExecution, told: Sequence[str]) -> CallAnswer:
    """What was told of a call. That a person let its pool execute it is written on the call, besides."""
    answer = _read(told[0])
    if call.pool is None or not call.external_execution_required:
        return answer or _UNREADABLE
    if call.requires_approval:
        if not (isinstance(answer, Confirmation) and answer.confirmed):
            return answer or _UNREADABLE
        call.take_confirmation(answer)
        answer = _read(told[-1])
    # A pool can write anything there, and must neither stop a run nor sign for people.
    if not isinstance(answer, CallResult):
        return _UNREADABLE
    return answer.model_copy(update={"answered_by": None, "answered_at": None})


def _read(told: str) -> CallAnswer | None:
    try:
        return parse_answer(told)
    except ValueError:
        return None
