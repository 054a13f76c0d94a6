"""Answers that people give to calls no pool executes: results by hand, yes or no, missing arguments.

The first answer to a call stands; a later one changes nothing, and AlreadyAnsweredError says so.
"""

from __future__ import annotations

from agent_core.errors import InvalidAnswerError
from agent_core.tools.execution import (
    CallAnswer,
    CallOutcome,
    CallResult,
    Confirmation,
    ToolExecution,
    UserInput,
    encode_result,
)
from queues.errors import AlreadyAnsweredError
from queues.runs import Runs, StoredRun

NOT_GIVEN = object()


class People:
    """Checks an answer against the call that it is for, before anything is written: InvalidAnswerError."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def settle(self, run_id: str, tool_call_id: str, *, result: object, error: str | None) -> None:
        """Give the result of an external call, or its error."""
        if (result is NOT_GIVEN) == (error is None):
            raise InvalidAnswerError("give either result= or error=, not both and not neither")
        stored, call = self._awaited(run_id, tool_call_id)
        if not call.external_execution_required:
            raise InvalidAnswerError(f"call {tool_call_id} of {call.tool_name} waits for a person, not for a result")
        if error is not None:
            self._answer(stored, tool_call_id, CallResult(outcome=CallOutcome.FAILED, content=error))
        else:
            content = encode_result(result, tool_name=call.tool_name)
            self._answer(stored, tool_call_id, CallResult(content=content))

    def confirm(self, run_id: str, tool_call_id: str, answer: Confirmation) -> None:
        """Let a call run, or refuse it."""
        stored, call = self._awaited(run_id, tool_call_id)
        if not call.requires_confirmation:
            raise InvalidAnswerError(f"call {tool_call_id} of {call.tool_name} does not ask for confirmation")
        self._answer(stored, tool_call_id, answer)

    def provide_input(self, run_id: str, tool_call_id: str, answer: UserInput) -> None:
        """Give the arguments that a call asks for."""
        stored, call = self._awaited(run_id, tool_call_id)
        if not call.requires_user_input:
            raise InvalidAnswerError(f"call {tool_call_id} of {call.tool_name} does not ask for input")
        fields = {field.name: field for field in call.user_input_schema or []}
        if unknown := answer.values.keys() - fields.keys():
            raise InvalidAnswerError(
                f"{call.tool_name} asks for {', '.join(sorted(fields))}; not for {', '.join(sorted(unknown))}"
            )
        required = {name for name, field in fields.items() if field.required and field.value is None}
        if missing := required - answer.values.keys():
            raise InvalidAnswerError(f"{call.tool_name} also needs {', '.join(sorted(missing))}")
        self._answer(stored, tool_call_id, answer)

    def _answer(self, stored: StoredRun, tool_call_id: str, answer: CallAnswer) -> None:
        word = self._runs.answer(stored, tool_call_id, answer)
        if word in ("already", "missing"):
            raise AlreadyAnsweredError(
                f"call {tool_call_id} of run {stored.snapshot.run_id} is answered already; that answer stands"
            )

    def _awaited(self, run_id: str, tool_call_id: str) -> tuple[StoredRun, ToolExecution]:
        stored = self._runs.load(run_id)
        for call in stored.snapshot.pending:
            if call.tool_call_id == tool_call_id:
                if call.external_execution_required and call.pool is not None:
                    raise InvalidAnswerError(f"call {tool_call_id} is executed by pool {call.pool}; it settles there")
                return stored, call
        waiting = ", ".join(call.tool_call_id for call in stored.snapshot.pending) or "none"
        raise InvalidAnswerError(f"run {run_id} does not wait for call {tool_call_id!r}; it waits for: {waiting}")
