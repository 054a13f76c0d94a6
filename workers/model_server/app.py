"""The HTTP face: an OpenAI-compatible application over whoever answers, with faults and a record of requests.

Never keeps a header of a request, since one of them carries the caller's key, and never opens a connection itself.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, assert_never

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from workers.model_server.answers import Answer, Answerer, Envelope, as_server_sent_event, spoil
from workers.model_server.conversation import ChatRequest, Conversation
from workers.model_server.errors import BadRequestError, FaultError
from workers.model_server.faults import Fault, FaultCounter, FaultKind

FAULT_HEADER = "X-Errandry-Fault"
RECORDED_REQUESTS = 500


class RecordedRequest(BaseModel):
    """A request that was understood, and what was done with it: the rule that answered and the fault that happened."""

    model_config = ConfigDict(frozen=True)

    body: dict[str, Any]
    rule: str | None
    fault: FaultKind | None


class ChatCompletions:
    """Answers chat completion requests; `requests` holds the last ones, oldest first."""

    def __init__(self, answerer: Answerer, *, clock: Callable[[], float] = time.time) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=RECORDED_REQUESTS)
        self.model_id = answerer.model_id
        self._answerer = answerer
        self._clock = clock
        self._faults = FaultCounter()

    async def complete(self, body: ChatRequest, http: Request) -> Response:
        """Answer one request, unless a fault that is due prevents it."""
        conversation = Conversation.read(body.messages)
        asked_for = http.headers.get(FAULT_HEADER) or body.errandry_fault
        callers_fault = Fault.parse(asked_for) if asked_for else None
        answer = await run_in_threadpool(self._answerer.answer, body, conversation)
        fault = self._faults.due(callers_fault, key=f"caller {asked_for}") if callers_fault else None
        fault = fault or self._faults.due(answer.fault, key=f"rule {answer.rule}")
        self.requests.append(
            RecordedRequest(
                body=body.model_dump(mode="json", exclude_unset=True),
                rule=answer.rule,
                fault=fault.kind if fault else None,
            )
        )
        refusal = await _refuse(fault, http)
        if refusal is not None:
            return refusal
        if fault is not None:
            answer = spoil(answer, fault)
        envelope = Envelope(
            completion_id=f"chatcmpl-{secrets.token_hex(12)}",
            created=int(self._clock()),
            model=body.model,
            prompt_tokens=sum(len(message.model_dump_json()) for message in body.messages) // 4 + 1,
        )
        if body.stream:
            include_usage = bool(body.stream_options and body.stream_options.include_usage)
            return _stream(envelope, answer, include_usage=include_usage, fault=fault, http=http)
        return await _whole(envelope, answer, fault=fault, http=http)


async def _refuse(fault: Fault | None, http: Request) -> Response | None:
    """Carry out the faults that come before any answer; `None` if an answer is to follow."""
    if fault is None:
        return None
    match fault.kind:
        case FaultKind.RATE_LIMIT:
            refusal = _error(
                429, "Rate limit reached, on request.", kind="rate_limit_error", code="rate_limit_exceeded"
            )
            refusal.headers["Retry-After"] = f"{fault.retry_after:g}"
            return refusal
        case FaultKind.SERVER_ERROR:
            return _error(500, "The server failed, on request.", kind="server_error")
        case FaultKind.DISCONNECT:
            await http.state.connection.drop()
            return Response()
        case FaultKind.SLOW:
            await _wait(fault, http)
        case (
            FaultKind.STALL
            | FaultKind.DISCONNECT_MIDSTREAM
            | FaultKind.TRUNCATE
            | FaultKind.MALFORMED_ARGUMENTS
            | FaultKind.UNKNOWN_TOOL
            | FaultKind.CONTENT_FILTER
        ):
            pass
        case _:
            assert_never(fault.kind)
    return None


async def _wait(fault: Fault, http: Request) -> None:
    """Let the time of the fault pass; a client that is gone is not waited for."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(http.state.connection.lost.wait(), fault.seconds)


async def _whole(envelope: Envelope, answer: Answer, *, fault: Fault | None, http: Request) -> Response:
    completion, kind = envelope.completion(answer), fault and fault.kind
    if fault is not None and kind is FaultKind.STALL:
        await _wait(fault, http)
    if kind is FaultKind.TRUNCATE:
        completion["choices"][0]["finish_reason"] = None
    if kind is not FaultKind.DISCONNECT_MIDSTREAM:
        return JSONResponse(completion)
    text = json.dumps(completion)

    async def half() -> AsyncIterator[str]:
        yield text[: len(text) // 2]
        await http.state.connection.drop()

    return StreamingResponse(half(), media_type="application/json")


def _stream(envelope: Envelope, answer: Answer, *, include_usage: bool, fault: Fault | None, http: Request) -> Response:
    chunks = [as_server_sent_event(chunk) for chunk in envelope.chunks(answer, include_usage=include_usage)]
    kind = fault and fault.kind
    is_cut = kind in (FaultKind.TRUNCATE, FaultKind.DISCONNECT_MIDSTREAM)
    # Always at least the role, never the chunk with the finish reason.
    half = max(1, len(chunks) // 2)
    if is_cut:
        chunks = chunks[:half]

    async def events() -> AsyncIterator[str]:
        for place, chunk in enumerate(chunks):
            if fault is not None and kind is FaultKind.STALL and place == half:
                await _wait(fault, http)
            yield chunk
        if kind is FaultKind.DISCONNECT_MIDSTREAM:
            await http.state.connection.drop()
        elif not is_cut:
            yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def _error(status: int, message: str, *, kind: str, code: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": code}}, status_code=status)


async def _bad_request(_: Request, error: Exception) -> Response:
    message = str(error)
    if isinstance(error, RequestValidationError):
        message = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'][1:])}: {problem['msg']}" for problem in error.errors()
        )
    return _error(400, message, kind="invalid_request_error")


def create_app(completions: ChatCompletions) -> FastAPI:
    """The application around `completions`; it serves no documentation pages, as those would load from elsewhere."""
    app = FastAPI(title="Errandry model server", docs_url=None, redoc_url=None, openapi_url=None)
    for error_class in (RequestValidationError, BadRequestError, FaultError):
        app.add_exception_handler(error_class, _bad_request)

    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatRequest, http: Request) -> Response:
        return await completions.complete(body, http)

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        model = {"id": completions.model_id, "object": "model", "created": 0, "owned_by": "errandry"}
        return {"object": "list", "data": [model]}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/requests")
    def requests() -> list[RecordedRequest]:
        return list(completions.requests)

    return app
