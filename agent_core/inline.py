"""Calls inline tools: those that run in the agent's own process.

Never raises for a failing tool; the failure is the result.
"""

import asyncio
import contextvars
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import JsonValue

from agent_core.telemetry import emit
from agent_core.text import well_formed
from agent_core.tools.context import RunContext
from agent_core.tools.execution import CallMetrics, CallOutcome, CallResult, ToolExecution, encode_result
from agent_core.tools.function import Function


@dataclass(frozen=True, kw_only=True)
class InlineTools:
    """The tools of an agent, ready to be called. `agent` is what a tool's parameter of that name gets."""

    functions: Mapping[str, Function]
    agent: object = None

    def is_async(self, call: ToolExecution) -> bool:
        """Whether the call has to be awaited."""
        return call.tool_name in self.functions and self.functions[call.tool_name].is_async

    def run(
        self, call: ToolExecution, context: RunContext, *, sleep: Callable[[float], None] = time.sleep
    ) -> CallResult:
        """Call a sync tool, as often as its `max_attempts` allow, and return how that ended."""
        with _Told(call, context) as told:
            told.result = self._run(call, context, sleep)
        return told.result

    def _run(self, call: ToolExecution, context: RunContext, sleep: Callable[[float], None]) -> CallResult:
        if (gone := self._gone(call)) is not None:
            return gone
        function, attempt = self.functions[call.tool_name], 0
        while True:
            attempt += 1
            started = time.monotonic()
            try:
                value = _limited(
                    lambda: function.call(arguments_of(call), context=context, agent=self.agent),
                    function.timeout_seconds,
                )
                result = _succeeded(function, value)
            except (Exception, SystemExit) as error:
                result = _failed(function, error)
            result = _measured(result, attempt=attempt, started=started)
            if result.outcome is CallOutcome.SUCCEEDED or attempt >= function.max_attempts:
                return result
            sleep(_backoff_seconds(function, attempt))

    async def arun(self, call: ToolExecution, context: RunContext) -> CallResult:
        """Call any tool; a sync one in a thread, since it would hold up the event loop."""
        if not self.is_async(call) or self._gone(call) is not None:
            return await asyncio.to_thread(self.run, call, context)
        with _Told(call, context) as told:
            told.result = await self._arun(call, context)
        return told.result

    async def _arun(self, call: ToolExecution, context: RunContext) -> CallResult:
        function, attempt = self.functions[call.tool_name], 0
        while True:
            attempt += 1
            started = time.monotonic()
            try:
                async with asyncio.timeout(function.timeout_seconds) as limit:
                    value = await function.acall(arguments_of(call), context=context, agent=self.agent)
                result = _succeeded(function, value)
            except (Exception, SystemExit) as error:
                result = _failed(function, error, timed_out=limit.expired())
            result = _measured(result, attempt=attempt, started=started)
            if result.outcome is CallOutcome.SUCCEEDED or attempt >= function.max_attempts:
                return result
            await asyncio.sleep(_backoff_seconds(function, attempt))

    def _gone(self, call: ToolExecution) -> CallResult | None:
        """Return the answer to a call of a tool that the code had when the call was made, and no longer has here."""
        function = self.functions.get(call.tool_name)
        if function is not None and not function.external_execution:
            return None
        gone = f"The agent has no tool {call.tool_name!r} any more."
        if function is not None:
            gone = f"The tool {call.tool_name!r} is external by now; the agent does not execute it. Call it again."
        return CallResult(outcome=CallOutcome.FAILED, content=gone)


def arguments_of(call: ToolExecution) -> dict[str, JsonValue]:
    """Return the model's arguments together with those that a person gave."""
    given = {f.name: f.value for f in call.user_input_schema or () if f.value is not None}
    return call.tool_args | given


class _Told:
    """Tells operators when a call begins and how it ends; of one that was given up it says cancelled."""

    def __init__(self, call: ToolExecution, context: RunContext) -> None:
        self._call = {
            "run_id": context.run_id,
            "step": call.step,
            "tool_call_id": call.tool_call_id,
            "tool_name": call.tool_name,
        }
        self.result = CallResult(outcome=CallOutcome.CANCELLED, content="")

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        emit("inline.begun", **self._call)
        return self

    def __exit__(self, *_: object) -> None:
        wall_seconds = time.monotonic() - self._begun
        emit("inline.executed", **self._call, outcome=self.result.outcome.value, wall_seconds=wall_seconds)


class _TimedOutError(Exception):
    """The tool did not return in time."""


def _limited(work: Callable[[], object], timeout_seconds: float | None) -> object:
    """Return what `work` returns. Under a limit it runs in a thread of its own, which nothing can stop: it is left."""
    if timeout_seconds is None:
        return work()
    done: queue.SimpleQueue[tuple[object, BaseException | None]] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # handed over to the waiting thread, which raises it
            done.put((None, error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(attempt,), daemon=True)
    thread.start()
    try:
        value, error = done.get(timeout=timeout_seconds)
    except queue.Empty:
        raise _TimedOutError from None
    if error is not None:
        raise error
    return value


def _succeeded(function: Function, value: object) -> CallResult:
    return CallResult(content=encode_result(value, tool_name=function.name))


def _failed(function: Function, error: BaseException, *, timed_out: bool = False) -> CallResult:
    if isinstance(error, _TimedOutError) or timed_out:
        left = "" if function.is_async else " It was left behind and may still take effect."
        text = f"{function.name!r} did not return within {function.timeout_seconds} seconds.{left}"
        return CallResult(outcome=CallOutcome.TIMED_OUT, content=text)
    text = well_formed(f"{type(error).__name__}: {error}")
    return CallResult(outcome=CallOutcome.FAILED, content=text)


def _measured(result: CallResult, *, attempt: int, started: float) -> CallResult:
    metrics = CallMetrics(attempt=attempt, wall_seconds=time.monotonic() - started)
    return result.model_copy(update={"metrics": metrics})


def _backoff_seconds(function: Function, attempt: int) -> float:
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
    return float(function.backoff_seconds * 2 ** (attempt - 1) * jitter)
