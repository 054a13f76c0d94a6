"""Routes of executors: whoever executes the calls of a pool without Redis, in any language. One key for each pool.

deploy/http-executors.md says the same to people who write one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import JSONResponse, Response

from agent_core.tools.execution import as_text
from queues.errors import UnknownPoolError
from queues.executor_calls import LentCall
from workers.gateway.auth import requires
from workers.gateway.executor_models import CallSettlement, Claim, HandedOver, HeardOf, OfLease, Released, Settled
from workers.gateway.here import Here, while_asked
from workers.gateway.people import CallId
from workers.gateway.pool_service import CallPlace, PoolService, Told
from workers.gateway.problems import PROBLEM_JSON, Problem, ProblemError
from workers.gateway.runs import RunId

MOST_WAITING = 2000
_CALL = "/calls/{run_id}/{step}/{tool_call_id:path}"
_REFUSALS = {
    "already": "Another answer to this call stands; this one was not written down.",
    "stale": "This lease is not held (any more): it ran out or was given back. Nothing was written down.",
    "lost": "This lease is not held (any more): it ran out or was settled. Nothing was given back.",
}

PoolName = Annotated[str, Path(min_length=1, max_length=41)]
Step = Annotated[int, Path(ge=0, le=10**9)]

router = APIRouter(
    prefix="/v1/pools/{pool}", tags=["executors"], dependencies=[Depends(requires("pool:{pool}"))], responses={404: {}}
)


async def _service(pool: PoolName, request: Request, gateway: Here) -> PoolService:
    described = gateway.settings.pools.get(pool)
    if described is None:
        raise UnknownPoolError(f"There is no pool {pool!r} in this gateway's settings.")
    if described.served_by != "http":
        detail = f'Pool {pool!r} is served by tool workers; set served_by = "http" in [pools.{pool}] to change that.'
        raise ProblemError(HTTPStatus.CONFLICT, detail)
    service = request.app.state.pool_service
    assert isinstance(service, PoolService)
    return service


async def _place(pool: PoolName, run_id: RunId, step: Step, tool_call_id: CallId) -> CallPlace:
    return CallPlace(pool, run_id, step, tool_call_id)


Service = Annotated[PoolService, Depends(_service)]
Place = Annotated[CallPlace, Depends(_place)]


@router.post(
    "/claim",
    response_model=HandedOver,
    responses={204: {"description": "No call came; ask again."}, 409: {}},
)
async def claim(pool: PoolName, wish: Claim, request: Request, gateway: Here, service: Service) -> Response:
    """Wait for a call of the pool and begin it. From the answer on it counts as being executed by this executor."""
    if service.waiting >= MOST_WAITING or gateway.streams.over.is_set():
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "This gateway takes no further executors just now; try again, or ask another one.",
            headers={"Retry-After": "2"},
        )
    lent = await while_asked(request, gateway, service.claim(pool, wish.executor, seconds=wish.wait_seconds))
    if lent is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    if await request.is_disconnected():
        # Nobody has seen it, so nobody has executed it.
        await service.release(_place_of(lent), lent.lease)
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return Response(_handed_over(lent, service).model_dump_json(), media_type="application/json")


@router.post(f"{_CALL}/heartbeat", response_model=HeardOf, responses={409: {}})
async def heartbeat(place: Place, held: OfLease, service: Service) -> HeardOf:
    """Keep a call for another lease, and hear whether it is still wanted."""
    standing = await service.heartbeat(place, held.lease)
    if standing is None:
        raise _no_such_call(place)
    return HeardOf(standing=standing, lease_seconds=service.lease_seconds)


@router.post(f"{_CALL}/settle", response_model=Settled, responses={409: {}})
async def settle(place: Place, answer: CallSettlement, service: Service, request: Request) -> Response:
    """Give a call's answer. The first one stands; the same again is answered as the first time."""
    measured = answer.metrics
    told = Told(
        outcome=answer.outcome,
        content=as_text(answer.content, what="content"),
        wall_seconds=measured.wall_seconds,
        cpu_seconds=measured.cpu_seconds,
        peak_memory_mb=measured.peak_memory_mb,
        exit_code=measured.exit_code,
    )
    verdict = await service.settle(place, answer.lease, told)
    if verdict == "missing":
        raise _no_such_call(place)
    if verdict in _REFUSALS:
        return _refused(request, verdict)
    return JSONResponse({"verdict": "retry" if verdict == "retry" else "settled"})


@router.post(f"{_CALL}/release", response_model=Released, responses={409: {}})
async def release(place: Place, held: OfLease, service: Service, request: Request) -> Response:
    """Give a call back that was not executed: another executor gets it, and the attempt does not count."""
    verdict = await service.release(place, held.lease)
    if verdict == "missing":
        raise _no_such_call(place)
    return _refused(request, verdict) if verdict in _REFUSALS else JSONResponse({"verdict": verdict})


def _handed_over(lent: LentCall, service: PoolService) -> HandedOver:
    request, allowed, place = lent.call.request, service.timeout_of(lent), lent.call.address
    ids = "/".join(quote(str(part), safe="") for part in (place.run_id, place.step, place.tool_call_id))
    return HandedOver(
        run_id=place.run_id,
        step=place.step,
        tool_call_id=place.tool_call_id,
        tool_name=place.tool_name,
        arguments=request.tool_args,
        idempotency_key=request.idempotency_key,
        attempt=lent.call.attempt,
        timeout_seconds=allowed,
        deadline=datetime.fromtimestamp(lent.begun_ms / 1000, UTC) + timedelta(seconds=allowed),
        lease=lent.lease,
        lease_seconds=service.lease_seconds,
        path=f"/v1/pools/{place.pool}/calls/{ids}",
        traceparent=service.traceparent_of(lent),
    )


def _place_of(lent: LentCall) -> CallPlace:
    address = lent.call.address
    return CallPlace(address.pool, address.run_id, address.step, address.tool_call_id)


def _no_such_call(place: CallPlace) -> ProblemError:
    detail = f"Pool {place.pool!r} has no call {place.tool_call_id!r} in step {place.step} of run {place.run_id!r}."
    return ProblemError(HTTPStatus.NOT_FOUND, detail)


def _refused(request: Request, verdict: str) -> Response:
    """A conflict, with the recorded word as a member of its own."""
    status = HTTPStatus.CONFLICT
    problem = Problem(
        type="urn:errandry:problem:not-yours",
        title="The call is not in this executor's hands",
        status=status,
        detail=_REFUSALS[verdict],
        instance=request.url.path,
    )
    word = "stale" if verdict == "lost" else verdict
    return JSONResponse({**problem.model_dump(), "verdict": word}, status_code=status, media_type=PROBLEM_JSON)
