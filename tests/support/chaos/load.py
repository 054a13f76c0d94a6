"""Submits runs to a fleet, answers for its people and sees them through; never fails because the server is away."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import redis

from agent_core.errors import InvalidAnswerError
from agent_core.run import RunStatus
from queues import keys
from queues.connections import connect
from queues.errors import QueueError, StoreRefusedError, StoreUnreachableError
from tests.support.chaos.audit import Findings, Submitted, audit, late_answers
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.shapes import Shape
from tests.support.chaos.tools import token
from tests.support.waiting import wait_until

T = TypeVar("T")
_FINISHED = {status.value for status in RunStatus if status.is_finished}
_AWAY_SECONDS = 60.0


def patiently(command: Callable[[], T]) -> T:
    """The answer of a command that may be repeated, once Redis gives one."""
    deadline = time.monotonic() + _AWAY_SECONDS
    while True:
        try:
            return command()
        except (StoreUnreachableError, StoreRefusedError, redis.RedisError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@dataclass
class Load:
    """The runs of one test."""

    fleet: Fleet
    runs: list[Submitted] = field(default_factory=list)
    open: dict[str, Submitted] = field(default_factory=dict)
    dug_up: Counter[str] = field(default_factory=Counter)  # dead letters that were requeued: of runs by id, of calls

    def __post_init__(self) -> None:
        self.redis = connect(self.fleet.server.url, client_name="load")

    def submit(
        self,
        shape: Shape,
        name: str,
        *,
        end: RunStatus | None = RunStatus.COMPLETED,
        deadline_seconds: float | None = None,
    ) -> Submitted:
        """Submit one run; a submit whose answer was lost is repeated under the same key."""
        handle = patiently(
            lambda: self.fleet.client.submit(
                shape.agent, shape.prompt(name), idempotency_key=name, deadline_seconds=deadline_seconds
            )
        )
        run = Submitted(handle.run_id, name, shape, end)
        self.runs.append(run)
        self.open[run.run_id] = run
        return run

    def submit_many(self, shapes: Sequence[Shape], count: int, *, name: str) -> list[Submitted]:
        """Submit `count` runs, taking the shapes in turn."""
        return [self.submit(shapes[number % len(shapes)], f"{name}{number}") for number in range(count)]

    def look(self) -> None:
        """Note which runs have ended, answer for the people that others wait for, dig up what was buried."""
        self._look_at_open()
        self._dig_up()

    def _look_at_open(self) -> None:
        asked = list(self.open)
        if not asked:
            return
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in asked:
                pipeline.hget(keys.run(run_id), "status")
            for run_id, status in zip(asked, pipeline.execute(), strict=True):
                if status in _FINISHED:
                    del self.open[run_id]
                elif status == RunStatus.PAUSED and self.open[run_id].shape.asks_people:
                    self._answer(self.open[run_id])

    def _dig_up(self) -> None:
        for letter in self.fleet.client.dead_letters():
            dug_up = self.fleet.client.requeue(letter.id)
            self.dug_up[letter.run_id if letter.kind == "run" else "calls"] += dug_up
            # It may have been taken for ended when it was buried.
            self.open.update({run.run_id: run for run in self.runs if run.run_id == letter.run_id and dug_up})

    def _answer(self, run: Submitted) -> None:
        if run.end is RunStatus.ERROR:
            return  # its deadline is to pass
        client = self.fleet.client
        for call in client.pending(run.run_id):
            if call.pool is None:
                try:
                    client.settle(run.run_id, call.tool_call_id, result=token(str(call.tool_args["word"])))
                except InvalidAnswerError:
                    return  # the run has moved on meanwhile

    def settle_down(self, *, timeout_seconds: float, each: Callable[[], object] = lambda: None) -> None:
        """Wait until all runs have ended, or the bound is over; `each` is called between looks."""
        deadline = time.monotonic() + timeout_seconds
        while self.open and time.monotonic() < deadline:
            each()
            self.try_to_look()
            time.sleep(0.03)

    def try_to_look(self) -> None:
        """As `look`, unless Redis is away just now."""
        try:
            self.look()
        except (QueueError, redis.RedisError):
            return

    def wait_executing(self, run: Submitted, *, times: int = 1, timeout_seconds: float = 30) -> None:
        """Wait until the ledger says that calls of the run execute, or have."""
        wait_until(
            lambda: sum(e.key.startswith(f"{run.run_id}:") for e in self.fleet.ledger.executions()) >= times,
            f"{run.name} executes",
            timeout_seconds=timeout_seconds,
        )

    def audit(self) -> Findings:
        """What became of the runs; the fleet still runs."""
        findings = patiently(
            lambda: audit(self.runs, self.fleet.client, self.fleet.ledger.executions(), dug_up=self.dug_up)
        )
        findings.told["late answers refused"] = patiently(lambda: late_answers(self.redis))
        findings.told["runs and calls dug up"] = self.dug_up.total()
        return findings

    def must_be_clean(self, *, timeout_seconds: float = 60) -> Findings:
        """Every run ends in time, and no promise is broken."""
        self.settle_down(timeout_seconds=timeout_seconds)
        findings = self.audit()
        assert findings.is_clean, findings.table()
        return findings

    def close(self) -> None:
        self.redis.close()


def dice_of(seed: int) -> random.Random:
    """The chance of one experiment: shapes, faults and times all come from its seed."""
    return random.Random(f"chaos-{seed}")
