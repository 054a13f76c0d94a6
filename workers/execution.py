"""One tool call, stage by stage: claim, execute behind the sandbox, judge, settle. Never imports a tool itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from agent_core.telemetry import emit
from agent_core.tools.execution import CallMetrics, CallOutcome, CallResult
from queues.call_output import CallOutput, OutputTeller
from queues.calls import CallAddress, Calls, ClaimedCall, Output
from queues.connections import insist
from queues.leases import LeaseKeeper
from workers.exporters.log_context import bind, bound
from workers.exporters.tracing import NO_TRACES, Traces
from workers.retrying import retry_after
from workers.sandbox.base import Outcome, Sandbox, SandboxCall
from workers.watching.words import Word, of_refused_call, of_settled

_STOPPED = (
    "The worker had to leave before this call was done, and stopped it. Whether it took effect is unknown; "
    "it was not executed again. Check before you repeat it."
)


@dataclass(frozen=True)
class Executor:
    """What a tool worker needs to execute calls of its pool; a `teller` if readers are to see what they write.

    Where the pool `asks_people` first, calls without a run are refused: nobody was asked. With `shows_details` Flower
    shows the beginning of each call's arguments and result.
    """

    calls: Calls
    leases: LeaseKeeper
    sandbox: Sandbox
    worker: str
    teller: OutputTeller | None = None
    asks_people: bool = False
    shows_details: bool = False
    jitter: Callable[[], float] = random.random
    traces: Traces = NO_TRACES

    def execute(self, address: CallAddress) -> Word:
        """Carry one call from its claim to its answer; says in one word what came of it.

        A copy of a call that is held, settled or cancelled changes nothing. Whatever the tool does is an outcome;
        an exception out of here is a fault of ours, after which the lease runs out and the sweep decides.
        """
        with bound(**told_of(address)):
            claimed = self.calls.claim(address)
            if isinstance(claimed, str):
                return of_refused_call(claimed)
            with self.traces.call(claimed):
                return self._carry_out(claimed)

    def _carry_out(self, claimed: ClaimedCall) -> Word:
        address = claimed.address
        since = time.monotonic() - claimed.queue_wait_seconds
        emit("call.claimed", **told_of(address), queue_wait_seconds=claimed.queue_wait_seconds)
        if (refusal := claimed.refused_by(asks_people=self.asks_people)) is not None:
            verdict = insist(lambda: self.calls.settle(claimed, refusal))
            tell_settled(claimed, refusal, verdict, since=since)
            return of_settled(refusal.outcome, verdict)
        with self.leases.holding(self.calls.renewal(claimed)) as lease:
            begun = self.calls.begin(claimed, sandbox_level=self.sandbox.level)
            if isinstance(begun, str):
                lease.note(begun)
                return of_refused_call(begun)
            bind(attempt=begun.attempt)
            emit("call.begun", **told_of(address), attempt=begun.attempt)
            written = self.teller.output_of(begun) if self.teller is not None else None
            call = _sandbox_call(begun, written, shows_arguments=self.shows_details)
            outcome = self.sandbox.run(call, cancelled=lease.stopped)
            if outcome.outcome is CallOutcome.CANCELLED and lease.standing == "handed back":
                outcome = replace(outcome, outcome=CallOutcome.LOST, content=_STOPPED)
            result = self._result(begun, outcome)
            emit(
                "call.executed",
                **told_of(address),
                attempt=begun.attempt,
                outcome=result.outcome.value,
                wall_seconds=outcome.wall_seconds,
                sandbox_level=outcome.level,
            )
            wait_seconds = retry_after(begun, result.outcome, jitter=self.jitter)
            # What was executed must be written down, even if Redis is away for a while; a repeat settles nothing
            # twice. The lease is kept meanwhile, or the sweep would call it lost once Redis is back.
            untold = written.close() if written is not None else Output()
            verdict = insist(lambda: self.calls.settle(begun, result, retry_after_seconds=wait_seconds, output=untold))
            if verdict in ("settled", "last", "retry"):
                lease.done()
            else:
                lease.note("lost")  # which the refused answer heard before any heartbeat
        tell_settled(begun, result, verdict, since=since)
        return self._word(begun, outcome, verdict)

    def _word(self, call: ClaimedCall, outcome: Outcome, verdict: str) -> Word:
        most, status = call.request.max_attempts, str(outcome.detail.get("status", ""))
        return of_settled(
            outcome.outcome,
            verdict,
            attempt=f"attempt {call.attempt} of {most}" if most > 1 else "",
            status="" if status in ("ok", outcome.outcome.value) else status,
            result=outcome.content if self.shows_details else "",
            arguments=outcome.arguments,
        )

    def refuse(self, address: CallAddress) -> None:
        """Settle a call of a tool that this pool does not have as failed."""
        with bound(**told_of(address)):
            self._refuse(address)

    def _refuse(self, address: CallAddress) -> None:
        claimed = self.calls.claim(address)
        if isinstance(claimed, str):
            return
        text = f"Pool {address.pool} has no tool named {address.tool_name}; list it in errandry.toml."
        metrics = CallMetrics(pool=address.pool, worker=self.worker)
        result = CallResult(outcome=CallOutcome.FAILED, content=text, metrics=metrics)
        since = time.monotonic() - claimed.queue_wait_seconds
        verdict = insist(lambda: self.calls.settle(claimed, result))
        tell_settled(claimed, result, verdict, since=since)

    def _result(self, claimed: ClaimedCall, outcome: Outcome) -> CallResult:
        metrics = CallMetrics(
            pool=claimed.address.pool,
            worker=self.worker,
            attempt=claimed.attempt,
            queue_wait_seconds=claimed.queue_wait_seconds,
            wall_seconds=outcome.wall_seconds,
            cpu_seconds=outcome.cpu_seconds,
            peak_memory_mb=outcome.peak_memory_mb,
            exit_code=outcome.exit_code,
            sandbox_level=outcome.level,
            truncated=outcome.truncated,
        )
        return CallResult(outcome=outcome.outcome, content=outcome.content, metrics=metrics)


def tell_settled(call: ClaimedCall, result: CallResult, verdict: str, *, since: float) -> None:
    """Tell operators that a call has its answer, or that this one came to nothing; `since` is when it was queued."""
    emit(
        "call.settled",
        **told_of(call.address),
        attempt=call.attempt,
        outcome=result.outcome.value,
        verdict=verdict,
        turnaround_seconds=time.monotonic() - since,
    )


def told_of(address: CallAddress) -> dict[str, object]:
    """What every telemetry event of a call says."""
    return {
        "run_id": address.run_id,
        "step": address.step,
        "tool_call_id": address.tool_call_id,
        "pool": address.pool,
        "tool_name": address.tool_name,
    }


def _sandbox_call(claimed: ClaimedCall, written: CallOutput | None, *, shows_arguments: bool) -> SandboxCall:
    request = claimed.request
    return SandboxCall(
        tool_name=request.tool_name,
        tool_args=request.tool_args,
        idempotency_key=request.idempotency_key,
        timeout_seconds=request.timeout_seconds,
        tell=written.tell if written is not None else None,
        shows_arguments=shows_arguments,
    )
