"""Routes for those who watch the gateway itself: is it alive, does it take requests, what does it count."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Depends
from starlette.responses import Response

from workers.gateway.auth import requires
from workers.gateway.here import Here
from workers.gateway.metrics import CONTENT_TYPE
from workers.gateway.operation_models import Health, Readiness
from workers.gateway.problems import ProblemError

router = APIRouter(tags=["health"])


@router.head("/health", include_in_schema=False)
@router.get("/health", response_model=Health)
async def health() -> Health:
    """Say that the process is alive. Asks nobody, so that an outage of the store restarts no gateway."""
    return Health()


@router.head("/ready", include_in_schema=False)
@router.get("/ready", response_model=Readiness, responses={503: {}})
async def ready(gateway: Here) -> Readiness:
    """Say whether requests should be sent here: the store answers, and the gateway is not leaving.

    Agents that are not there are no reason against it: a run is stored, and carried on once they are.
    """
    if gateway.streams.over.is_set():
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "This gateway is leaving.", headers={"Retry-After": "2"})
    found = await gateway.look()
    if found is None:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "The store does not answer.", headers={"Retry-After": "2"})
    return Readiness(agents_announced=found.agents_announced)


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[Depends(requires("read"))],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(gateway: Here) -> Response:
    """Return the gateway's metrics, and those of queues and runs, as Prometheus reads them."""
    text = gateway.metrics.render(open_streams=gateway.streams.open, found=await gateway.measure())
    return Response(text, media_type=CONTENT_TYPE)
