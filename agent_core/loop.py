"""One stretch of a run, as a generator that asks for what it needs and is sent the answers.

Never does I/O: no model, no tool, no store and no clock is touched here. `agent_core.drive` carries the requests out.
"""

import itertools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from agent_core.answers import apply_answers
from agent_core.batch import read_batch
from agent_core.cancelling import cancel
from agent_core.errors import ModelError, RunAlreadyContinuedError
from agent_core.events import (
    RunCancelled,
    RunCompleted,
    RunContinued,
    RunError,
    RunEvent,
    RunPaused,
    RunStarted,
)
from agent_core.messages import Message, ToolCall
from agent_core.models.base import ModelReply, ModelRequest
from agent_core.prompt import opening_messages
from agent_core.reply import fit_to_schema
from agent_core.requests import (
    AskCancelled,
    CallModel,
    CallTools,
    ModelFailure,
    ReadHistory,
    Request,
    Save,
    Steps,
)
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.spec import AgentSpec, requested_schema
from agent_core.telling import (
    content_event,
    context_of,
    event_of,
    pause_words,
    settled_event,
    started_event,
    tool_message,
)
from agent_core.text import well_formed
from agent_core.tools.execution import CallAnswer, CallOutcome, CallResult, ToolExecution
from agent_core.tools.function import Function

_LOST = "The process that executed this call died. Whether the call took effect is unknown."
# How often a reply that broke off in the middle is asked for again; as often as the SDK does for one that never began.
_BROKEN_REPLIES = 2


class RunLoop:
    """Carries one run from where its snapshot stands to the next pause or to its end. Used once.

    With `may_void` the readers of its events heed `RunContinued.voids_text`, so a reply that broke off after some of
    its text was told is asked for again; without, it ends the run.
    """

    def __init__(
        self, spec: AgentSpec, snapshot: RunSnapshot, *, answers: Mapping[str, CallAnswer], may_void: bool = False
    ) -> None:
        self.spec = spec
        self.snapshot = snapshot
        self._answers = answers
        self._may_void = may_void

    @property
    def output(self) -> RunOutput:
        """What has come of the run so far."""
        return self.snapshot.output

    def run(self) -> Steps:
        """Yield requests until the run is paused or finished; by then that is saved."""
        if self.output.status is RunStatus.PENDING:
            yield from self._start()
        else:
            yield from self._go_on()
        while self.output.status is RunStatus.RUNNING:
            yield from self._call_model() if self.snapshot.phase == "model" else self._call_tools()

    def _start(self) -> Steps:
        output, spec = self.output, self.spec
        history: Sequence[RunSnapshot] = ()
        if spec.add_history_to_context and output.session_id and spec.num_history_runs > 0:
            history = yield ReadHistory(output.session_id, spec.num_history_runs)
        output.messages = opening_messages(spec.system_prompt, self.snapshot, history=history)
        output.agent_id, output.model, output.status = spec.id, spec.model_id, RunStatus.RUNNING
        self.snapshot.step = 1
        yield from self._save([event_of(self.snapshot, RunStarted)])

    def _go_on(self) -> Steps:
        status, snapshot = self.output.status, self.snapshot
        if status in (RunStatus.COMPLETED, RunStatus.CANCELLED):
            raise RunAlreadyContinuedError(f"Run {snapshot.run_id!r} is {status}; there is nothing to continue.")
        crashed = status is RunStatus.RUNNING
        events = self._report_lost() if crashed and snapshot.phase == "tools" else []
        settled = apply_answers(snapshot.calls, self._answers)
        self.output.status, self.output.error = RunStatus.RUNNING, None
        continued = event_of(snapshot, RunContinued, voids_text=snapshot.phase == "model")
        if snapshot.pending and not (crashed and self._runnable()):
            # An ERROR run may have lost its calls' places in the queues: hand them out again.
            dispatch = tuple(snapshot.pending) if status is RunStatus.ERROR else ()
            yield from self._pause([continued, *events], dispatch=dispatch)
            return
        # Answers that were kept from an earlier, incomplete try are told only now, when the step goes on.
        told = settled if crashed else [c for c in snapshot.calls if c.is_settled and c.pauses]
        events = [continued, *events, *(settled_event(snapshot, call) for call in told)]
        if snapshot.phase == "tools" and not self._runnable():
            yield from self._close_step(events)
        else:
            yield from self._save(events)

    def _report_lost(self) -> list[RunEvent]:
        """Settle the inline calls that the last driver began and never finished, but for those that may be repeated."""
        lost = [call for call in self._runnable() if (f := self._function(call)) is None or f.on_lost == "report"]
        return [self._settle(call, CallResult(outcome=CallOutcome.LOST, content=_LOST)) for call in lost]

    def _runnable(self) -> list[ToolExecution]:
        waiting = [call for call in self.snapshot.calls if not call.is_settled and not call.is_paused]
        return [call for call in waiting if not call.external_execution_required]

    def _call_model(self) -> Steps:
        if (yield AskCancelled(self.snapshot.run_id)):
            yield from self._cancel()
            return
        answer = yield from self._ask()
        if answer is None or (yield AskCancelled(self.snapshot.run_id)):
            yield from self._cancel()
        elif isinstance(answer, ModelFailure):
            yield from self._fail(answer.error)
        elif answer.tool_calls:
            self.output.metrics += answer.usage
            yield from self._begin_tools(answer)
        else:
            self.output.metrics += answer.usage
            yield from self._finish(answer)

    def _ask(self) -> Generator[Request, Any, ModelReply | ModelFailure | None]:
        question = self._question()
        for attempt in itertools.count():
            delay = self.spec.retry_delay_seconds * 2 ** (attempt - 1) if attempt else 0.0
            answer: ModelReply | ModelFailure | None = yield replace(question, delay_seconds=delay)
            if not isinstance(answer, ModelFailure) or attempt >= self._retries_after(answer):
                break
            if answer.spoke:
                yield from self._save([event_of(self.snapshot, RunContinued, voids_text=True)])
        return answer

    def _retries_after(self, failure: ModelFailure) -> int:
        if not failure.error.retryable:
            return 0
        if not failure.spoke:
            return self.spec.retries
        return max(self.spec.retries, _BROKEN_REPLIES) if self._may_void else 0

    def _question(self) -> CallModel:
        limit = self.spec.tool_call_limit
        request = ModelRequest(
            messages=tuple(self.output.messages),
            tools=self.spec.tool_specs,
            response_schema=requested_schema(self.snapshot.response_schema),
            may_call_tools=limit is None or len(self.output.tools) < limit,
        )
        snapshot = self.snapshot
        return CallModel(
            request, snapshot.run_id, snapshot.step, self.output.agent_name, partial(content_event, snapshot)
        )

    def _begin_tools(self, reply: ModelReply) -> Steps:
        try:
            calls_before = len(self.output.tools)
            batch = read_batch(self.spec, reply.tool_calls, step=self.snapshot.step, calls_before=calls_before)
        except ModelError as error:
            yield from self._fail(error)
            return
        self._say(reply.content, reply, tool_calls=batch.messages)
        self.output.tools.extend(batch.records)
        self.snapshot.phase = "tools"
        events: list[RunEvent] = []
        for call in batch.records:
            events.append(started_event(self.snapshot, call))
            events += [settled_event(self.snapshot, call)] if call.is_settled else []
        if self._runnable():
            # Handed out before the inline calls run, so that both overlap.
            yield from self._save(events, dispatch=tuple(self.snapshot.pending))
        elif self.snapshot.pending:
            yield from self._pause(events, dispatch=tuple(self.snapshot.pending))
        else:
            yield from self._close_step(events)

    def _call_tools(self) -> Steps:
        calls = tuple(self._runnable())
        if calls:
            yield CallTools(calls, {call.tool_call_id: context_of(self.snapshot, call) for call in calls}, self._settle)
        if (yield AskCancelled(self.snapshot.run_id)):
            yield from self._cancel()
        elif self.snapshot.pending:
            yield from self._pause()
        else:
            yield from self._close_step()

    def _close_step(self, events: Sequence[RunEvent] = ()) -> Steps:
        """Turn the results into messages, in call order, and save them: from here on no result is needed again."""
        calls, shown = self.snapshot.calls, []
        for call in calls:
            self.output.messages.append(tool_message(call))
            function = self._function(call)
            if call.outcome is CallOutcome.SUCCEEDED and function is not None and function.shows_result:
                shown.append(str(call.result))
        self.snapshot.shown.extend(shown)
        pieces: list[RunEvent] = [content_event(self.snapshot, f"{text}\n\n") for text in shown]
        if any(self._ends_run(call) for call in calls):
            yield from self._complete("\n\n".join(self.snapshot.shown), [*events, *pieces])
            return
        self.snapshot.step, self.snapshot.phase = self.snapshot.step + 1, "model"
        yield from self._save([*events, *pieces])

    def _ends_run(self, call: ToolExecution) -> bool:
        function = self._function(call)
        return call.outcome is CallOutcome.SUCCEEDED and function is not None and function.stop_after_tool_call

    def _function(self, call: ToolExecution) -> Function | None:
        """Return the tool of the call; None for one that the agent does not have (any more)."""
        return self.spec.functions.get(call.tool_name)

    def _finish(self, reply: ModelReply) -> Steps:
        text = well_formed(reply.content or reply.refusal or "")
        stored = self.snapshot.response_schema
        self._say(text, reply)
        if stored is None:
            yield from self._complete("\n\n".join([*self.snapshot.shown, text]))
            return
        fitted = fit_to_schema(reply, stored, output_class=self.spec.output_class(stored))
        if not isinstance(fitted, ModelError):
            self.output.content_type = str(stored["name"])
            yield from self._complete(fitted)
        elif fitted.retryable and not self.snapshot.schema_retried:
            self.snapshot.schema_retried = True
            self.snapshot.step += 1
            self.output.messages.append(Message(role="user", content=str(fitted)))
            yield from self._save()
        else:
            yield from self._fail(fitted)

    def _say(self, content: str | None, reply: ModelReply, *, tool_calls: tuple[ToolCall, ...] = ()) -> None:
        said = None if content is None else well_formed(content)
        message = Message(role="assistant", content=said, tool_calls=tool_calls, finish_reason=reply.finish_reason)
        self.output.messages.append(message)

    def _complete(self, content: object, events: Sequence[RunEvent] = ()) -> Steps:
        self.output.status, self.output.content = RunStatus.COMPLETED, content
        done = event_of(self.snapshot, RunCompleted, content=content, metrics=self.output.metrics)
        yield from self._save([*events, done])

    def _pause(self, events: Sequence[RunEvent] = (), *, dispatch: tuple[ToolExecution, ...] = ()) -> Steps:
        self.output.status = RunStatus.PAUSED
        words = pause_words(self.snapshot)
        paused = event_of(self.snapshot, RunPaused, content=words, tools=self.output.tools)
        yield from self._save([*events, paused], dispatch=dispatch)

    def _fail(self, error: ModelError) -> Steps:
        self.output.status, self.output.error = RunStatus.ERROR, well_formed(str(error))
        yield from self._save([event_of(self.snapshot, RunError, content=self.output.error).caused_by(error)])

    def _cancel(self) -> Steps:
        cancel(self.snapshot)
        yield from self._save([event_of(self.snapshot, RunCancelled, content=self.output.error)])

    def _save(self, events: Sequence[RunEvent] = (), *, dispatch: tuple[ToolExecution, ...] = ()) -> Steps:
        self.snapshot = yield Save(self.snapshot, dispatch, tuple(events))

    def _settle(self, call: ToolExecution, result: CallResult) -> RunEvent:
        call.settle(result)
        return settled_event(self.snapshot, call)
