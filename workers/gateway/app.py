"""The gateway's application: its routes, and what lies around each of them. Opens nothing before it is started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from http import HTTPStatus
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from agent_core.errors import ErrandryError
from queues.acl import GATEWAY
from queues.client import AsyncClient
from queues.connections import aconnect
from queues.redis_url import url_of
from queues.settings import Settings
from queues.settings_gateway import is_own_machine
from workers.gateway import executors, health, operations, page_routes, people, runs
from workers.gateway.api_keys import ApiKeys
from workers.gateway.around import Around, BodyLimit
from workers.gateway.auth import Door
from workers.gateway.counting import counting
from workers.gateway.description import describe
from workers.gateway.here import Gateway
from workers.gateway.metrics import Metrics
from workers.gateway.pool_service import PoolService
from workers.gateway.problems import of_errandry, of_invalid_request, of_refusal
from workers.gateway.sse import HEARTBEAT_SECONDS, Streams
from workers.gateway.traced import traced
from workers.gateway.webhooks.service import delivering

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    runs.router,
    people.router,
    operations.router,
    executors.router,
    page_routes.router,
)


def create_app(
    settings: Settings, *, streams: Streams | None = None, heartbeat_seconds: float = HEARTBEAT_SECONDS
) -> FastAPI:
    """The application for a project. `streams` is how whoever serves it ends its streams when it leaves.

    It connects to the store as the gateway's Redis user, once it is started. SettingsError if the file of API keys
    cannot be used, StoreUnreachableError if nobody knows of a store.
    """
    metrics = Metrics()
    url = url_of(settings, GATEWAY)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        looking = aconnect(url, client_name="errandry-gateway")
        async with (
            AsyncClient(url, durability=settings.durability) as client,
            looking,
            # Of all that is counted only the calls of such pools happen here.
            counting(url) if settings.http_pools else nullcontext(),
            traced() as traces,
            PoolService(settings, url, traces=traces) as pool_service,
            delivering(url, settings.gateway),
        ):
            app.state.pool_service = pool_service
            app.state.gateway = Gateway(
                settings=settings,
                client=client,
                looking=looking,
                metrics=metrics,
                streams=streams or Streams(),
                heartbeat_seconds=heartbeat_seconds,
            )
            yield

    app = FastAPI(
        title="Errandry",
        version=version("errandry"),
        description="Agents as durable background jobs: submit runs, follow them, answer what they ask.",
        # The pages of the framework load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    # The last one added is the first that a request meets.
    app.add_middleware(BodyLimit, max_kb=settings.gateway.max_body_kb)
    app.add_middleware(Door, keys=ApiKeys(settings.api_keys_file, required=not is_own_machine(settings.gateway.host)))
    app.add_middleware(Around, metrics=metrics)
    app.add_exception_handler(ErrandryError, _on_errandry_error)
    app.add_exception_handler(HTTPException, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _on_errandry_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ErrandryError)
    return of_errandry(request.url.path, error)


def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework names the methods of one route only, and a path may have several.
        error.headers = {"Allow": ", ".join(sorted(_methods_of(path)))}
    return of_refusal(path, error)


def _methods_of(path: str) -> set[str]:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}


def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return of_invalid_request(request, error)
