"""Answers that people give: results by hand, yes or no, missing arguments; and which runs wait for them.

The first answer to a call stands. The same answer by the same person again changes nothing; any other raises
AlreadyAnsweredError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue
from pydantic_core import from_json

from agent_core.errors import InvalidAnswerError
from agent_core.text import well_formed
from agent_core.tools.execution import (
    MAX_ARGUMENTS_BYTES,
    CallAnswer,
    CallOutcome,
    CallResult,
    Confirmation,
    ToolExecution,
    UserInput,
    encode_result,
)
from queues.errors import AlreadyAnsweredError
from queues.not_given import NOT_GIVEN
from queues.runs import Runs
from queues.stored_runs import StoredRun

MAX_SIGNATURE_CHARACTERS = 200


class People:
    """Checks an answer against the call that it is for, before anything is written: InvalidAnswerError.

    `answered_by` is the name of whoever answers, as the caller knows it; when they did is the server's to say.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def settle(
        self, run_id: str, tool_call_id: str, *, result: object, error: str | None, answered_by: str | None = None
    ) -> None:
        """Give the result of an external call, or its error."""
        if (result is NOT_GIVEN) == (error is None):
            raise InvalidAnswerError("give either result= or error=, not both and not neither")
        stored, call = self._awaited(run_id, tool_call_id)
        if not call.external_execution_required:
            raise InvalidAnswerError(f"call {tool_call_id} of {call.tool_name} waits for a person, not for a result")
        if call.pool is not None:
            raise InvalidAnswerError(f"call {tool_call_id} is executed by pool {call.pool}; it settles there")
        if error is None:
            outcome, content = CallOutcome.SUCCEEDED, encode_result(result, tool_name=call.tool_name)
        else:
            outcome, content = CallOutcome.FAILED, well_formed(error)
        self._answer(stored, call, CallResult(outcome=outcome, content=content, answered_by=_signature(answered_by)))

    def confirm(
        self,
        run_id: str,
        tool_call_id: str,
        approved: bool,
        *,
        note: str = "",
        arguments: Mapping[str, JsonValue] | None = None,
        answered_by: str | None = None,
    ) -> None:
        """Let a call run, or refuse it. Where a pool executes it, `arguments` replace all that the model gave.

        Whether they fit the tool shows where it is executed: what does not fit is a failed call, and nothing is run.
        """
        if not isinstance(approved, bool):
            raise InvalidAnswerError(f"approved is {approved!r}; give True or False")
        stored, call = self._awaited(run_id, tool_call_id)
        if not (call.requires_confirmation or call.requires_approval):
            where = f"; pool {call.pool} executes it" if call.pool is not None else ""
            raise InvalidAnswerError(f"call {tool_call_id} of {call.tool_name} does not ask for confirmation{where}")
        if arguments is not None:
            arguments = _changed_arguments(call, arguments, approved=approved)
        answer = Confirmation(
            confirmed=approved,
            note=well_formed(note),
            arguments=None if arguments is None else dict(arguments),
            answered_by=_signature(answered_by),
        )
        self._answer(stored, call, answer)

    def provide_input(
        self, run_id: str, tool_call_id: str, values: Mapping[str, JsonValue], *, answered_by: str | None = None
    ) -> None:
        """Give the arguments that a call asks for."""
        stored, call = self._awaited(run_id, tool_call_id)
        if not call.requires_user_input:
            raise InvalidAnswerError(f"call {tool_call_id} of {call.tool_name} does not ask for input")
        fields = {field.name: field for field in call.user_input_schema or []}
        if unknown := values.keys() - fields.keys():
            raise InvalidAnswerError(
                f"{call.tool_name} asks for {', '.join(sorted(fields))}; not for {', '.join(sorted(unknown))}"
            )
        required = {name for name, field in fields.items() if field.required and field.value is None}
        if missing := required - values.keys():
            raise InvalidAnswerError(f"{call.tool_name} also needs {', '.join(sorted(missing))}")
        checked = _checked_values(values, what=f"the input of {call.tool_name}")
        self._answer(stored, call, UserInput(values=checked, answered_by=_signature(answered_by)))

    def _answer(self, stored: StoredRun, call: ToolExecution, answer: CallAnswer) -> None:
        run_id = stored.snapshot.run_id
        match self._runs.answer(stored, call.tool_call_id, answer):
            case "already" | "missing":
                raise AlreadyAnsweredError(
                    f"call {call.tool_call_id} of run {run_id} is answered already; that answer stands"
                )
            case "ended":
                raise InvalidAnswerError(
                    f"run {run_id} has ended or is about to; nobody is to answer its calls any more"
                )
            case "settled" | "last":
                return

    def _awaited(self, run_id: str, tool_call_id: str) -> tuple[StoredRun, ToolExecution]:
        stored = self._runs.load(run_id)
        for call in stored.snapshot.pending:
            if call.tool_call_id == tool_call_id:
                return stored, call
        for call in stored.snapshot.output.tools:
            if call.tool_call_id == tool_call_id and call.answered_at is not None:
                by = f" by {call.answered_by}" if call.answered_by else ""
                raise AlreadyAnsweredError(
                    f"call {tool_call_id} of run {run_id} was answered{by} at "
                    f"{call.answered_at:%Y-%m-%d %H:%M:%S} UTC; that answer stands"
                )
        waiting = ", ".join(call.tool_call_id for call in stored.snapshot.pending) or "none"
        raise InvalidAnswerError(f"run {run_id} does not wait for call {tool_call_id!r}; it waits for: {waiting}")


def _changed_arguments(
    call: ToolExecution, arguments: Mapping[str, JsonValue], *, approved: bool
) -> Mapping[str, JsonValue] | None:
    """The arguments as they will be sent, None if nothing is changed."""
    if not call.requires_approval:
        raise InvalidAnswerError(
            f"call {call.tool_call_id} of {call.tool_name} takes no arguments with its confirmation; only calls that "
            "wait for the approval of their pool do"
        )
    if not approved:
        raise InvalidAnswerError("arguments= go with an approval; a refused call is not executed")
    checked = _checked_values(arguments, what=f"the arguments of {call.tool_name}")
    return None if checked == call.tool_args else checked


def _checked_values(values: Mapping[str, JsonValue], *, what: str) -> dict[str, JsonValue]:
    try:
        text = json.dumps(dict(values), allow_nan=False, ensure_ascii=False).encode()
        checked = cast(dict[str, JsonValue], from_json(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidAnswerError(f"{what} must be an object that JSON can hold: {error}") from error
    if len(text) > MAX_ARGUMENTS_BYTES:
        raise InvalidAnswerError(f"{what} have {len(text)} bytes; {MAX_ARGUMENTS_BYTES} are allowed")
    return checked


def _signature(answered_by: str | None) -> str | None:
    if answered_by is not None and len(answered_by) > MAX_SIGNATURE_CHARACTERS:
        raise InvalidAnswerError(
            f"answered_by has {len(answered_by)} characters; {MAX_SIGNATURE_CHARACTERS} are allowed"
        )
    return None if answered_by is None else well_formed(answered_by)
