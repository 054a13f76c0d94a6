"""Routes of runs: submit, list, look, wait, follow, cancel, retry. Each is one call of the client."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request
from starlette.responses import Response

from agent_core.run import RunOutput, RunStatus
from queues.client import WaitTimeoutError
from queues.tracing import under
from workers.gateway.auth import requires
from workers.gateway.here import Here, while_asked
from workers.gateway.problems import ProblemError
from workers.gateway.run_models import Cancellation, Cancelled, NewRun, RunPage, RunView, Submitted
from workers.gateway.sse import EventStream, beginning_with
from workers.gateway.webhooks.service import check_webhook

router = APIRouter(prefix="/v1/runs", tags=["runs"])
LONGEST_WAIT_SECONDS = 60
_EVENT_ID = r"^[0-9]{1,19}-[0-9]{1,19}(,[a-z][a-z0-9_-]{0,40}=[0-9]{1,19}-[0-9]{1,19}){0,64}$"

RunId = Annotated[str, Path(min_length=1, max_length=128, description="The id that the submit returned.")]
EventId = Annotated[
    str | None, Query(pattern=_EVENT_ID, examples=["1795390933519-0"], description="Tell what came after this event.")
]
LastEventId = Annotated[
    str | None,
    Header(
        pattern=_EVENT_ID,
        examples=["1795390933519-0,shell=1795390933520-3"],
        description="As `after`, which it goes before; sent by readers that come back.",
    ),
]
FRAME = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["id", "event", "data"],
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]([ -~]*[!-~])?$",
        max_length=255,
        description="The same key with the same agent and input gives the same run; it is in quotes or not.",
    ),
]
Traceparent = Annotated[
    str | None,
    Header(description="W3C trace context: the run's spans belong to this trace. Anything else than one is ignored."),
]


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=Submitted,
    dependencies=[Depends(requires("submit"))],
    responses={
        200: {"model": Submitted, "description": "The key's run, which was submitted before."},
        201: {"headers": {"Location": {"description": "Where the run is.", "schema": {"type": "string"}}}},
        409: {},
    },
)
async def submit(
    new: NewRun,
    response: Response,
    gateway: Here,
    idempotency_key: IdempotencyKey = None,
    traceparent: Traceparent = None,
) -> Submitted:
    """Store a run and publish it. Answered once it is stored; what becomes of it is told by its events."""
    if new.webhook_url is not None:
        check_webhook(new.webhook_url, gateway.settings.gateway)
    with under(traceparent):
        run = await gateway.client.submit(
            new.agent,
            new.input,
            idempotency_key=_unquoted(idempotency_key),
            session_id=new.session_id,
            user_id=new.user_id,
            priority=new.priority,
            deadline_seconds=new.deadline_seconds,
            metadata=new.metadata,
            webhook_url=new.webhook_url,
        )
    response.headers["Location"] = f"/v1/runs/{run.run_id}"
    if run.is_repeat:
        response.status_code = HTTPStatus.OK
        return Submitted(run_id=run.run_id, status=await run.status())
    return Submitted(run_id=run.run_id, status=RunStatus.PENDING)


@router.get("", response_model=RunPage, dependencies=[Depends(requires("read"))], responses={404: {}})
async def list_runs(
    gateway: Here,
    status: RunStatus | None = None,
    agent: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[
        str | None, Query(min_length=1, max_length=128, description="`next` of the page before this one.")
    ] = None,
) -> RunPage:
    """List runs, the newest first. With a filter a page may be short, even empty, and still have a `next`."""
    found = await gateway.client.runs(status=status, agent=agent, limit=limit, before=before)
    return RunPage(runs=[RunView.of(output) for output in found], next=found.before)


@router.get("/{run_id}", response_model=RunView, dependencies=[Depends(requires("read"))], responses={404: {}})
async def look(run_id: RunId, gateway: Here) -> RunView:
    """Say where a run stands."""
    return RunView.of(await gateway.client.output(run_id))


@router.get("/{run_id}/output", response_model=RunOutput, dependencies=[Depends(requires("read"))], responses={404: {}})
async def output(run_id: RunId, gateway: Here) -> Response:
    """Return a run as far as it has come: content, messages, calls, usage."""
    return _whole(await gateway.client.output(run_id))


@router.get(
    "/{run_id}/wait",
    response_model=RunOutput,
    dependencies=[Depends(requires("read"))],
    responses={202: {"model": RunOutput, "description": "It goes on still; ask again."}, 404: {}},
)
async def wait(
    run_id: RunId,
    request: Request,
    gateway: Here,
    seconds: Annotated[
        float, Query(alias="timeout", ge=0, le=LONGEST_WAIT_SECONDS, description="So many seconds at most.")
    ] = 30,
    until: Annotated[
        Literal["finished", "paused"], Query(description="`paused`: also a pause that waits for people.")
    ] = "finished",
) -> Response:
    """Wait for the end of a run and return its output; after the time-out, or if the gateway leaves, as it is then."""
    gateway.streams.refuse_if_full()
    try:
        with gateway.streams.one_more():
            ended = await while_asked(request, gateway, gateway.client.wait(run_id, timeout=seconds, until=until))
    except WaitTimeoutError:
        ended = None
    if ended is not None:
        return _whole(ended)
    return _whole(await gateway.client.output(run_id), status=HTTPStatus.ACCEPTED)


@router.get(
    "/{run_id}/events",
    response_class=Response,
    dependencies=[Depends(requires("read"))],
    responses={
        200: {
            "description": "Frames of `id`, `event` and `data` (JSON), from the first event to the run's last, with "
            "comments in between as a sign of life. A stream that ends before the run does is asked for again with "
            "Last-Event-ID.",
            "content": {"text/event-stream": {"schema": FRAME}},
        },
        204: {"description": "Nothing came after that event, and the run has ended: there is no need to ask again."},
        404: {},
    },
)
async def events(run_id: RunId, gateway: Here, after: EventId = None, last_event_id: LastEventId = None) -> Response:
    """Follow a run, from its first event or from after one that was seen: without gap and without repeat."""
    # Once the stream has begun there is no other status to give.
    status, after = await gateway.client.status(run_id), last_event_id or after
    told = gateway.client.events(run_id, after=after)
    if after is not None and status.is_finished:
        # A browser's EventSource comes back after each end of a stream; this status is what stops it.
        if (first := await anext(told, None)) is None:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        told = beginning_with(first, told)
    # Nothing is waited for from here on until the stream counts, or many at once would all find room.
    gateway.streams.refuse_if_full()
    return EventStream(told, streams=gateway.streams, heartbeat_seconds=gateway.heartbeat_seconds)


@router.post(
    "/{run_id}/cancel", response_model=Cancelled, dependencies=[Depends(requires("operate"))], responses={404: {}}
)
async def cancel(run_id: RunId, gateway: Here, why: Annotated[Cancellation | None, Body()] = None) -> Cancelled:
    """End a run, its queued calls and those that execute. A repeat changes nothing."""
    cancelled = await gateway.client.cancel(run_id, why.reason if why is not None else "")
    return Cancelled(run_id=run_id, cancelled=cancelled)


@router.post(
    "/{run_id}/retry",
    response_model=Submitted,
    dependencies=[Depends(requires("operate"))],
    responses={404: {}, 409: {}},
)
async def retry(run_id: RunId, gateway: Here) -> Submitted:
    """Let a run that ended in ERROR go on from its last snapshot."""
    run = await gateway.client.retry(run_id)
    return Submitted(run_id=run.run_id, status=await run.status())


def _whole(found: RunOutput, *, status: HTTPStatus = HTTPStatus.OK) -> Response:
    # As it stands: to validate and encode a long conversation twice would hold everybody else up.
    return Response(found.to_json(), status_code=status, media_type="application/json")


def _unquoted(key: str | None) -> str | None:
    """The RFC draft has the key in quotes, most clients leave them out; both mean the same key."""
    if key is None:
        return None
    bare = key[1:-1] if len(key) > 1 and key.startswith('"') and key.endswith('"') else key
    if not bare:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "The key is empty.", field="header.idempotency-key")
    return bare
