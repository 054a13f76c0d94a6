"""Every error of the gateway as problem+json (RFC 9457): which class means which status, and what it may say.

What only the operator should know, such as the store's address, goes to the log and not to the caller.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from agent_core.errors import (
    ArgumentsError,
    ErrandryError,
    InvalidAnswerError,
    RunAlreadyContinuedError,
    RunNotFoundError,
    StaleRunError,
)
from queues.errors import (
    AlreadyAnsweredError,
    DeadLetterNotFoundError,
    IdempotencyConflictError,
    NotRequeueableError,
    RunNotFailedError,
    SettingsError,
    StoreRefusedError,
    StoreUnreachableError,
    UnknownAgentError,
    UnknownPoolError,
    WebhookUrlError,
)
from queues.event_places import InvalidEventIdError

PROBLEM_JSON = "application/problem+json"
_RETRY_AFTER_SECONDS = 2
_MOST_ERRORS = 20
_LONGEST_PLACE = 8
_logger = logging.getLogger("errandry.gateway")


class FieldProblem(BaseModel):
    """One thing that is wrong with a request, and where."""

    field: str = Field(description="Where it is, as in `body.agent`, `query.limit` or `header.idempotency-key`.")
    detail: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(description="What kind of problem it is: a URN of the product's, or `about:blank`.")
    title: str
    status: int
    detail: str = Field(description="What is wrong this time, and what to do about it, as a sentence.")
    instance: str = Field(description="The path that was asked for.")
    errors: list[FieldProblem] = Field(default_factory=list, description="What is wrong with which field.")


@dataclass(frozen=True)
class Kind:
    """What a class of errors means to a caller. `field` is the part of the request that has to change."""

    status: HTTPStatus
    name: str
    title: str
    field: str | None = None
    told: str | None = None  # in place of the error's own sentence, which is the operator's


_AWAY = "The store does not answer just now; what was asked for may be repeated with the same Idempotency-Key."
_REFUSED = "The store refuses what the gateway asks of it; the gateway's log says why."
_CLOSED = "The gateway's file of API keys cannot be used; the gateway's log says why."

# The first that fits counts, so a class stands before its base.
KINDS: dict[type[ErrandryError], Kind] = {
    RunNotFoundError: Kind(HTTPStatus.NOT_FOUND, "run-not-found", "There is no such run"),
    DeadLetterNotFoundError: Kind(HTTPStatus.NOT_FOUND, "dead-letter-not-found", "There is no such dead letter"),
    UnknownPoolError: Kind(HTTPStatus.NOT_FOUND, "unknown-pool", "There is no such pool"),
    UnknownAgentError: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown-agent", "Nobody offers this agent", "body.agent"),
    WebhookUrlError: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-webhook-url", "The webhook's URL is refused", "body.webhook_url"
    ),
    IdempotencyConflictError: Kind(
        HTTPStatus.CONFLICT,
        "idempotency-conflict",
        "The idempotency key stands for another run",
        "header.idempotency-key",
    ),
    AlreadyAnsweredError: Kind(HTTPStatus.CONFLICT, "already-answered", "The call is answered already"),
    RunNotFailedError: Kind(HTTPStatus.CONFLICT, "run-not-failed", "The run cannot be retried"),
    NotRequeueableError: Kind(HTTPStatus.CONFLICT, "not-requeueable", "The dead letter cannot be requeued"),
    RunAlreadyContinuedError: Kind(HTTPStatus.CONFLICT, "run-moved-on", "The run has moved on"),
    StaleRunError: Kind(HTTPStatus.CONFLICT, "run-moved-on", "The run has moved on"),
    InvalidAnswerError: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-answer", "The answer does not fit the call"),
    ArgumentsError: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-arguments", "The arguments do not fit the tool"),
    InvalidEventIdError: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-event-id", "This is no event id", "query.after"
    ),
    StoreUnreachableError: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE, "store-unreachable", "The store does not answer", told=_AWAY
    ),
    StoreRefusedError: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "store-refused", "The store refuses", told=_REFUSED),
    SettingsError: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "keys-unusable", "No key can be checked", told=_CLOSED),
}


class ProblemError(HTTPException):
    """A refusal of the gateway's own, with its sentence and the field that it is about."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, detail, headers)
        self.field = field


def problem_response(
    status: HTTPStatus,
    detail: str,
    *,
    path: str,
    kind: Kind | None = None,
    errors: list[FieldProblem] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """The answer that carries a problem."""
    problem = Problem(
        type=f"urn:errandry:problem:{kind.name}" if kind is not None else "about:blank",
        title=kind.title if kind is not None else status.phrase,
        status=status,
        detail=detail,
        instance=path,
        errors=errors or [],
    )
    return JSONResponse(problem.model_dump(), status_code=status, media_type=PROBLEM_JSON, headers=headers)


def of_errandry(path: str, error: ErrandryError) -> Response:
    """An error of the product's. One that is nobody's request, but a fault here, is a 500 and goes to the log."""
    kind = next((kind for base, kind in KINDS.items() if isinstance(error, base)), None)
    if kind is None:
        return of_fault(path, error)
    if kind.told is not None:
        _logger.warning("%s: %s", kind.name, error)
    headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)} if kind.status is HTTPStatus.SERVICE_UNAVAILABLE else None
    detail = kind.told or str(error)
    errors = [FieldProblem(field=kind.field, detail=detail)] if kind.field is not None else []
    return problem_response(kind.status, detail, path=path, kind=kind, errors=errors, headers=headers)


def of_refusal(path: str, error: HTTPException) -> Response:
    """A refusal by the gateway or its framework: no such route, no such method, too large a body."""
    status = HTTPStatus(error.status_code)
    field = error.field if isinstance(error, ProblemError) else None
    errors = [FieldProblem(field=field, detail=error.detail)] if field is not None else []
    detail = error.detail
    if status is HTTPStatus.NOT_FOUND and not isinstance(error, ProblemError):
        detail = f"There is nothing at {path}; /openapi.json lists what there is."
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{path} does not take this method; the header Allow says which it takes."
    return problem_response(status, detail, path=path, errors=errors, headers=dict(error.headers or {}))


def of_invalid_request(request: Request, error: RequestValidationError) -> Response:
    """A request whose form is wrong: not JSON at all, or fields that are missing, unknown or of another type."""
    path = request.url.path
    found = error.errors()
    broken = next((problem for problem in found if problem["type"] == "json_invalid"), None)
    if broken is not None:
        detail = f"The body is no JSON: {broken.get('ctx', {}).get('error', 'it cannot be read')}."
        return problem_response(
            HTTPStatus.BAD_REQUEST, detail, path=path, errors=[FieldProblem(field="body", detail=detail)]
        )
    errors = [_field_problem(problem["loc"], problem["msg"]) for problem in found[:_MOST_ERRORS]]
    if isinstance(error.body, bytes) and error.body:
        detail = "Send the body as JSON, with the header Content-Type: application/json."
        return problem_response(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, path=path)
    detail = "; ".join(f"{one.field}: {one.detail}" for one in errors)
    return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, detail, path=path, errors=errors)


def of_fault(path: str, error: Exception) -> Response:
    """A fault of ours: the caller learns that there was one, the log what it was."""
    _logger.error("unexpected error", exc_info=error)
    detail = "Something went wrong here that was not foreseen; the gateway's log says what."
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, detail, path=path)


def _field_problem(place: tuple[int | str, ...], words: str) -> FieldProblem:
    field = ".".join(map(str, place[:_LONGEST_PLACE])) + ("…" if len(place) > _LONGEST_PLACE else "")
    return FieldProblem(field=field, detail=words.removeprefix("Value error, "))
