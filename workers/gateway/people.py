"""Routes of people's answers: what a run waits for, and results, decisions and values for it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path

from agent_core.errors import InvalidAnswerError
from queues.errors import AlreadyAnsweredError
from workers.gateway.auth import Caller, requires
from workers.gateway.here import Gateway, Here
from workers.gateway.people_models import Answered, Decision, PendingCalls, ProvidedInput, Settlement
from workers.gateway.problems import ProblemError
from workers.gateway.runs import RunId

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["people"])

CallId = Annotated[str, Path(min_length=1, max_length=300, description="The `tool_call_id` of a pending call.")]
Answerer = Annotated[Caller, Depends(requires("answer"))]


@router.get("/pending", response_model=PendingCalls, dependencies=[Depends(requires("read"))], responses={404: {}})
async def pending(run_id: RunId, gateway: Here) -> PendingCalls:
    """List the calls that a run waits for, in pools and with people alike."""
    return PendingCalls(calls=await gateway.client.pending(run_id))


@router.post("/calls/{tool_call_id:path}/settle", response_model=Answered, responses={404: {}, 409: {}})
async def settle(run_id: RunId, tool_call_id: CallId, answer: Settlement, gateway: Here, who: Answerer) -> Answered:
    """Give the result, or the error, of an external call that no pool executes. The first answer stands."""
    by = _named(answer.answered_by, who)
    given = {"error": answer.error} if answer.error is not None else {"result": answer.result}
    try:
        await gateway.client.settle(run_id, tool_call_id, **given, answered_by=by)
    except InvalidAnswerError as error:
        raise await _better(gateway, run_id, tool_call_id, error) from error
    return Answered(run_id=run_id, tool_call_id=tool_call_id, answered_by=by)


@router.post("/calls/{tool_call_id:path}/confirm", response_model=Answered, responses={404: {}, 409: {}})
async def confirm(run_id: RunId, tool_call_id: CallId, answer: Decision, gateway: Here, who: Answerer) -> Answered:
    """Say yes or no to a call that asks for it. The first answer stands."""
    by = _named(answer.answered_by, who)
    try:
        await gateway.client.confirm(
            run_id, tool_call_id, answer.approved, answer.note, arguments=answer.arguments, answered_by=by
        )
    except InvalidAnswerError as error:
        raise await _better(gateway, run_id, tool_call_id, error) from error
    return Answered(run_id=run_id, tool_call_id=tool_call_id, answered_by=by)


@router.post("/calls/{tool_call_id:path}/input", response_model=Answered, responses={404: {}, 409: {}})
async def provide_input(
    run_id: RunId, tool_call_id: CallId, answer: ProvidedInput, gateway: Here, who: Answerer
) -> Answered:
    """Give the arguments that a call asks a person for. The first answer stands."""
    by = _named(answer.answered_by, who)
    try:
        await gateway.client.provide_input(run_id, tool_call_id, answer.values, answered_by=by)
    except InvalidAnswerError as error:
        raise await _better(gateway, run_id, tool_call_id, error) from error
    return Answered(run_id=run_id, tool_call_id=tool_call_id, answered_by=by)


def _named(claimed: str | None, who: Caller) -> str | None:
    """Who answers, as it is recorded: anybody may claim a name, so the key's stands beside it."""
    if who.name is None:
        return claimed
    return f"key {who.name}" if claimed is None else f"{claimed} (key {who.name})"


async def _better(gateway: Gateway, run_id: str, tool_call_id: str, error: InvalidAnswerError) -> Exception:
    """The same refusal, told apart: no such call, a call that is over, or an answer that does not fit it."""
    output = await gateway.client.output(run_id)
    calls = [call for call in output.tools if call.tool_call_id == tool_call_id]
    if not calls:
        return ProblemError(HTTPStatus.NOT_FOUND, str(error))
    if output.status.is_finished or all(call.is_settled for call in calls):
        return AlreadyAnsweredError(str(error))
    return error
