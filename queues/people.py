"""Answers that people give: results by hand, yes or no, missing arguments; and which runs wait for them.

The first answer to a call stands. The same answer by the same person again changes nothing; any other raises
AlreadyAnsweredError.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from agent_core.errors import InvalidAnswerError
from agent_core.text import well_formed
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
from queues.given_values import checked_input, checked_values
from queues.not_given import NOT_GIVEN
from queues.repeated_answers import is_repeat
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
        stored, call = self._asked(run_id, tool_call_id)
        if not call.external_execution_required:
            raise InvalidAnswerError(f"call {tool_call_id} of {call.tool_name} waits for a person, not for a result")
        if call.pool is not None:
            raise InvalidAnswerError(f"call {tool_call_id} is executed by pool {call.pool}; it settles there")
        if error is None:
            outcome, content = CallOutcome.SUCCEEDED, encode_result(result, tool_name=call.tool_name)
        else:
            outcome, content = CallOutcome.FAILED, _text(error, field="error")
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
        stored, call = self._asked(run_id, tool_call_id)
        if not (call.requires_confirmation or call.requires_approval):
            where = f"; pool {call.pool} executes it" if call.pool is not None else ""
            raise InvalidAnswerError(f"call {tool_call_id} of {call.tool_name} does not ask for confirmation{where}")
        if arguments is not None:
            arguments = _changed_arguments(call, arguments, approved=approved)
        answer = Confirmation(
            confirmed=approved,
            note=_text(note, field="note"),
            arguments=None if arguments is None else dict(arguments),
            answered_by=_signature(answered_by),
        )
        self._answer(stored, call, answer)

    def provide_input(
        self, run_id: str, tool_call_id: str, values: Mapping[str, JsonValue], *, answered_by: str | None = None
    ) -> None:
        """Give the arguments that a call asks for."""
        stored, call = self._asked(run_id, tool_call_id)
        if not call.requires_user_input:
            raise InvalidAnswerError(f"call {tool_call_id} of {call.tool_name} does not ask for input")
        checked = checked_input(call, values)
        self._answer(stored, call, UserInput(values=checked, answered_by=_signature(answered_by)))

    def _answer(self, stored: StoredRun, call: ToolExecution, answer: CallAnswer) -> None:
        run_id = stored.snapshot.run_id
        if call.answered_at is not None:
            if is_repeat(call, answer):
                return
            by = f" by {call.answered_by}" if call.answered_by else ""
            raise AlreadyAnsweredError(
                f"call {call.tool_call_id} of run {run_id} was answered{by} at "
                f"{call.answered_at:%Y-%m-%d %H:%M:%S} UTC; that answer stands"
            )
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

    def _asked(self, run_id: str, tool_call_id: str) -> tuple[StoredRun, ToolExecution]:
        """The call, which waits for an answer or has had one; InvalidAnswerError if the run never asked for one."""
        stored = self._runs.load(run_id)
        answered = [call for call in reversed(stored.snapshot.output.tools) if call.answered_at is not None]
        # Providers use ids again: what waits now comes first, then what was asked last.
        for call in [*stored.snapshot.pending, *answered]:
            if call.tool_call_id == tool_call_id:
                return stored, call
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
    checked = checked_values(arguments, what=f"the arguments of {call.tool_name}")
    proposed = call.tool_args if call.requested_args is None else call.requested_args
    return None if checked == proposed else checked


def _signature(answered_by: str | None) -> str | None:
    if answered_by is None:
        return None
    name = _text(answered_by, field="answered_by")
    if len(name) > MAX_SIGNATURE_CHARACTERS:
        raise InvalidAnswerError(f"answered_by has {len(name)} characters; {MAX_SIGNATURE_CHARACTERS} are allowed")
    return name


def _text(value: object, *, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidAnswerError(f"{field} is {value!r}; give a text")
    return well_formed(value)
