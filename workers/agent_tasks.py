"""The agent worker's Celery tasks, one for each agent: each carries a run on for one stretch and returns.

Start and continuation are the same task, since the claim finds out which it is. While a run is paused nothing of it
is here: no thread, no timer, no message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
from celery import Celery, Task, signals

from agent_core.errors import StaleRunError
from agent_core.telemetry import emit
from queues.claims import ClaimedRun, Claims
from queues.journal import QueueJournal
from queues.leases import LeaseKeeper
from queues.run_store import RedisRunStore
from queues.topology import agent_task
from workers.agents import Project
from workers.drift import obstacles
from workers.exporters.log_context import bound
from workers.exporters.tracing import NO_TRACES, Traces
from workers.watching.deliveries import Delivery, shown
from workers.watching.words import Kind, Word, of_refused_run, of_stretch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Advancer:
    """What an agent worker needs to carry runs on."""

    project: Project
    claims: Claims
    leases: LeaseKeeper
    store: RedisRunStore
    worker: str
    traces: Traces = NO_TRACES

    def advance(self, run_id: str, *, task_id: str) -> Word:
        """Carry a run on until it pauses or ends; says what came of it.

        A copy of a message changes nothing: the claim lets one holder in at a time, and only where there is something
        to do. A run that was lost to another worker on the way is that worker's.
        """
        with bound(run_id=run_id):
            return self._claim_and_advance(run_id, task_id)

    def _claim_and_advance(self, run_id: str, task_id: str) -> Word:
        run = self.claims.claim(run_id, owner=self.worker)
        if isinstance(run, str):
            return self._refused(run, run_id, task_id)
        with self.traces.stretch(run):
            return self._advance_or_lose(run, task_id)

    def _advance_or_lose(self, run: ClaimedRun, task_id: str) -> Word:
        try:
            return self._advance(run, task_id)
        except StaleRunError as error:
            _tell_left(run, "lost")
            _log.warning("%s; what came of it here since its last save is dropped", error)
            return Word("lost", Kind.ELSEWHERE, "lost: another worker carries the run on")
        except redis.RedisError:
            _tell_left(run, "lost")
            raise

    def _refused(self, refusal: str, run_id: str, task_id: str) -> Word:
        # One pool may answer before another: its hint then is no copy, and the other one's bears the same id.
        is_early = refusal == "waiting" and task_id == f"{run_id}:{self.claims.step(run_id)}"
        return of_refused_run(refusal, is_early=is_early)

    def _advance(self, run: ClaimedRun, task_id: str) -> Word:
        agent = self.project.agents[run.agent]
        if found := obstacles(run.snapshot.pending, agent.functions()):
            reason = f"parked: agent {run.agent} at hand {' and '.join(found)}"
            self.claims.park(run.run_id, reason, run=run)
            _tell_left(run, "parked")
            return Word(reason, Kind.AGAIN)
        with self.leases.holding(self.claims.renewal(run), give_back=lambda: self.claims.release(run)) as lease:
            journal = QueueJournal(
                self.claims,
                run,
                store=self.store,
                functions=agent.functions(),
                routing=self.project.routing,
                lease=lease,
                task_id=task_id,
            )
            try:
                for event in agent.advance(run.snapshot, answers=run.answers, journal=journal, stream=True):
                    journal.tell(event)
            except StaleRunError:
                lease.note("lost")  # which the refused save heard before any heartbeat
                raise
            except redis.RedisError:
                raise  # the run is picked up again once its lease has run out
            except Exception as error:
                # Tools and models fail as outcomes. What comes here would come again at each new try.
                _log.exception("run %s cannot go on", run.run_id)
                journal.fail(f"The run cannot go on: {type(error).__name__}: {error}")
            lease.done()
        _tell_left(journal.run, journal.run.snapshot.output.status.value)
        return of_stretch(journal.run.snapshot.output, journal.run.snapshot.pending)


def _tell_left(run: ClaimedRun, status: str) -> None:
    snapshot = run.snapshot
    age_seconds = (datetime.now(UTC) - snapshot.output.created_at).total_seconds()
    emit("run.left", run_id=run.run_id, agent=run.agent, step=snapshot.step, status=status, age_seconds=age_seconds)


def register(app: Celery, advancer: Advancer) -> None:
    """Give the app one task per agent. A task's result is a word for people in Flower, nobody's state.

    A run of an agent that is not here is parked, so that a worker which has it finds it.
    """
    for agent_name in advancer.project.agents:
        app.task(_task(advancer), name=agent_task(agent_name), bind=True, Request=Delivery)

    def park(name: str, id: str, **_: object) -> None:
        run_id = id.partition(":")[0]
        advancer.claims.park(run_id, f"parked: no agent worker at hand offers {name.removeprefix('agents.')}")

    # A weak reference would let go of the closure at once.
    signals.task_unknown.connect(park, weak=False)


def _task(advancer: Advancer) -> Callable[[Task, str], str]:
    def advance(task: Task, run_id: str) -> str:
        return shown(advancer.advance(run_id, task_id=task.request.id))

    return advance
