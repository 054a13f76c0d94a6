"""Routes of operations: agents and pools on offer, and dead letters. Each is one call of the client."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from queues.dead_letters import DeadLetter
from workers.gateway.auth import requires
from workers.gateway.here import Here
from workers.gateway.operation_models import AgentNames, DeadLetterList, PoolList, PoolView, Requeued

router = APIRouter(prefix="/v1", tags=["operations"])

LetterId = Annotated[str, Path(min_length=1, max_length=600, description="As the list of dead letters gives it.")]


@router.get("/agents", response_model=AgentNames, dependencies=[Depends(requires("read"))])
async def agents(gateway: Here) -> AgentNames:
    """List the agents that agent workers announce just now."""
    return AgentNames(agents=await gateway.client.agents())


@router.get("/pools", response_model=PoolList, dependencies=[Depends(requires("read"))])
async def pools(gateway: Here) -> PoolList:
    """List the pools with their tools, their workers and what waits for them."""
    return PoolList(pools=[PoolView.model_validate(pool) for pool in await gateway.client.pools()])


@router.get("/dead-letters", response_model=DeadLetterList, dependencies=[Depends(requires("operate"))])
async def dead_letters(gateway: Here, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> DeadLetterList:
    """List what was buried, the newest first: runs and calls that killed their workers, and messages refused."""
    return DeadLetterList(dead_letters=await gateway.client.dead_letters(limit=limit))


@router.get(
    "/dead-letters/{letter_id}",
    response_model=DeadLetter,
    dependencies=[Depends(requires("operate"))],
    responses={404: {}},
)
async def dead_letter(letter_id: LetterId, gateway: Here) -> DeadLetter:
    """Return one dead letter."""
    return await gateway.client.dead_letter(letter_id)


@router.post(
    "/dead-letters/{letter_id}/requeue",
    response_model=Requeued,
    dependencies=[Depends(requires("operate"))],
    responses={404: {}, 409: {}},
)
async def requeue(letter_id: LetterId, gateway: Here) -> Requeued:
    """Dig up what was buried: a run goes on from its last snapshot, a call goes back to its pool's queue."""
    return Requeued(id=letter_id, requeued=await gateway.client.requeue(letter_id))
