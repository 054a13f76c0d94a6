"""Holds what Redis says of the runs against what the ledger says was executed, and counts each broken promise."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import redis

from agent_core.errors import RunNotFoundError
from agent_core.events import ToolCallExecuting
from agent_core.messages import Message
from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome, ToolExecution
from queues.client import Client
from tests.support.chaos.ledger import Execution
from tests.support.chaos.shapes import ATTEMPTS, Shape, word_of
from tests.support.chaos.tools import token

PROMISES = {
    "runs_lost": "runs that are not in the store",
    "runs_stuck": "runs that have no end",
    "runs_failed": "runs that ended otherwise than they should",
    "calls_lost": "calls without a recorded outcome",
    "continuations_doubled": "steps whose results are not in the conversation exactly once, in call order",
    "ends_doubled": "runs whose readers were not told exactly one end",
    "executions_unasked": "calls executed more often than their tool allows",
    "results_misplaced": "results that belong to another call, or to no execution",
    "processes_left": "processes still running after the stop",
}


@dataclass(frozen=True)
class Submitted:
    """A run and how it should end."""

    run_id: str
    name: str
    shape: Shape
    end: RunStatus | None = RunStatus.COMPLETED  # None: any end is right, as with a cancellation that may come too late


@dataclass
class Findings:
    """How often each promise was broken (all 0 is the aim), where, and what else there is to tell."""

    broken: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    def broke(self, promise: str, place: str) -> None:
        assert promise in PROMISES, promise
        self.broken[promise] += 1
        self.places.append(f"{promise}: {place}")

    @property
    def is_clean(self) -> bool:
        return not self.broken

    def table(self) -> str:
        """For people."""
        rows = [f"{self.broken[promise]:6}  {promise:22} {meaning}" for promise, meaning in PROMISES.items()]
        rows += ["", *(f"{count:6}  {name}" for name, count in sorted(self.told.items()))]
        return "\n".join([*rows, *(f"  ! {place}" for place in self.places[:40])])

    def to_json(self) -> str:
        """For machines, on one line."""
        return json.dumps({**{promise: self.broken[promise] for promise in PROMISES}, **self.told}, sort_keys=True)


def audit(
    runs: Sequence[Submitted], client: Client, executions: Iterable[Execution], *, dug_up: Mapping[str, int]
) -> Findings:
    """Look at each run once they should all have ended; `dug_up` says how often each was buried and requeued."""
    findings = Findings()
    by_key: dict[str, list[Execution]] = {}
    for execution in executions:
        by_key.setdefault(execution.key, []).append(execution)
    for run in runs:
        _audit_run(run, client, by_key, findings)
        _audit_ends(run, client, dug_up.get(run.run_id, 0), findings)
    findings.told["runs"] = len(runs)
    findings.told["executions"] = sum(map(len, by_key.values()))
    return findings


def late_answers(connection: redis.Redis) -> int:
    """How many answers came too late or from nobody's holder, and were refused."""
    parts = (key for key in connection.scan_iter("errandry:part:*", count=1000) if connection.type(key) == "hash")
    return sum(int(str(connection.hget(str(key), "refused") or 0)) for key in parts)


def _audit_run(run: Submitted, client: Client, executions: dict[str, list[Execution]], findings: Findings) -> None:
    try:
        output = client.output(run.run_id)
    except RunNotFoundError:
        findings.broke("runs_lost", run.name)
        return
    place = f"{run.name} ({run.run_id}, {run.shape.name})"
    findings.told[f"runs {output.status.value}"] += 1
    if not output.status.is_finished:
        findings.broke("runs_stuck", f"{place}: {output.status}")
        return
    if run.end is not None and output.status is not run.end:
        findings.broke("runs_failed", f"{place}: {output.status}, {output.error}")
    for call in output.tools:
        if run.shape.input is None:
            _audit_call(run, call, executions, place, findings)
        elif call.outcome is None:
            findings.broke("calls_lost", f"{place} call {call.tool_call_id}")
        else:
            findings.told[f"calls {call.outcome.value}"] += 1
    if output.status is RunStatus.COMPLETED:
        _audit_conversation(run, output, place, findings)


def _audit_ends(run: Submitted, client: Client, dug_up: int, findings: Findings) -> None:
    """Its readers were told one end; one more, an error, each time that it was buried and dug up."""
    try:
        events = list(client.events(run.run_id, timeout=5))
    except RunNotFoundError:
        return
    begun = Counter((event.step, event.tool_call_id, event.attempt)
                    for event in events if isinstance(event, ToolCallExecuting))  # fmt: skip
    for (step, call, attempt), times in begun.items():
        if times > 1:
            findings.broke("executions_unasked", f"{run.name} ({run.run_id}): attempt {attempt} of {step}:{call}")
    ends = [event.event for event in events if event.event in ("RunCompleted", "RunCancelled", "RunError")]
    if ends[:dug_up] != ["RunError"] * dug_up or len(ends) != 1 + dug_up:
        findings.broke("ends_doubled", f"{run.name} ({run.run_id}): {ends}")


def _audit_call(
    run: Submitted, call: ToolExecution, executions: dict[str, list[Execution]], place: str, findings: Findings
) -> None:
    key = f"{run.run_id}:{call.step}:{call.tool_call_id}"
    place = f"{place} call {key} {call.tool_name}: {call.outcome}, {call.result!r}"
    word, times = str(call.tool_args.get("word")), executions.get(key, [])
    if call.outcome is None:
        findings.broke("calls_lost", place)
        return
    findings.told[f"calls {call.outcome.value}"] += 1
    if len(times) > ATTEMPTS[call.tool_name]:
        findings.broke("executions_unasked", f"{place}, executed {len(times)} times")
    if any(execution.word != word for execution in times):
        findings.broke("results_misplaced", f"{place}, executed with another argument")
    if call.outcome is CallOutcome.SUCCEEDED:
        executed = bool(times) or call.tool_name == "ask_person"
        if call.result != token(word) or not executed:
            findings.broke("results_misplaced", f"{place}, executed {len(times)} times")
    elif "tripped" in str(call.result) and token(word) not in str(call.result):
        findings.broke("results_misplaced", place)


def _audit_conversation(run: Submitted, output: RunOutput, place: str, findings: Findings) -> None:
    """Each step of the shape once: the model's calls, and after them one message per call, in the same order."""
    said = [message for message in output.messages if message.role in ("assistant", "tool")]
    expected = [[(call.tool, word_of(run.name, step, number)) for number, call in enumerate(batch, start=1)]
                for step, batch in enumerate(run.shape.steps, start=1)]  # fmt: skip
    made = [[(call.tool_name, str(call.tool_args.get("word"))) for call in output.tools if call.step == step]
            for step in sorted({call.step for call in output.tools})]  # fmt: skip
    if run.shape.input is not None:
        expected = made
    if made != expected:
        findings.broke("calls_lost", f"{place}: {made} instead of {expected}")
    if not _is_regular(said, len(expected)):
        findings.broke("continuations_doubled", f"{place}: {[message.role for message in said]}")


def _is_regular(said: Sequence[Message], steps: int) -> bool:
    rest = list(said)
    for _ in range(steps):
        if not rest or rest[0].role != "assistant":
            return False
        asked = [call.id for call in rest.pop(0).tool_calls]
        told = [message.tool_call_id for message in rest[: len(asked)]]
        if not asked or told != asked:
            return False
        del rest[: len(asked)]
    return [message.role for message in rest] == ["assistant"]
