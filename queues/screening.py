"""Which messages a worker takes from its queues: those that read like our own, and no others.

Whoever may push onto a queue may push anything. So each message is judged before Celery sees it: nothing of it is
decoded but JSON, nothing of it is kept but the ids that it must carry, and what is wrong with it is said without it.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from queues.topology import Place

MAX_MESSAGE_BYTES = 64 * 1024  # ours have about 1 kB: ids and nothing else
MAX_ANSWER_BYTES = 4 * 1024 * 1024  # what a busy worker answers to an inspection

_Id = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
_Shown = Annotated[str, StringConstraints(max_length=8192)]


class RefusedMessageError(ValueError):
    """A message that must not be acted on; the sentence says why and repeats nothing of it."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Headers(_Strict):
    lang: Literal["py"]
    task: _Id
    id: _Id
    root_id: _Id
    parent_id: _Id | None
    shadow: None
    eta: None
    expires: None
    group: None
    group_index: None
    retries: Literal[0]
    timelimit: tuple[None, None] = Field(strict=False)
    argsrepr: _Shown
    kwargsrepr: _Shown
    origin: _Shown
    ignore_result: Literal[True]
    replaced_task_nesting: Literal[0]
    stamped_headers: None
    stamps: Annotated[dict[str, Any], Field(max_length=0)]
    redelivered: bool = False


class _DeliveryInfo(_Strict):
    exchange: Literal[""]
    routing_key: str
    redelivered: bool = False


class _Properties(_Strict):
    correlation_id: _Id
    reply_to: _Shown
    argsrepr: _Shown = ""
    kwargsrepr: _Shown = ""
    delivery_mode: Literal[2]
    delivery_info: _DeliveryInfo
    priority: Literal[0]
    body_encoding: Literal["base64"]
    delivery_tag: _Id


class _Message(_Strict):
    body: str
    content_encoding: Literal["utf-8"] = Field(alias="content-encoding")
    content_type: Literal["application/json"] = Field(alias="content-type")
    headers: _Headers
    properties: _Properties


class _Canvas(_Strict):
    callbacks: None
    errbacks: None
    chain: None
    chord: None


class _Body(_Strict):
    arguments: list[_Id | int]
    keywords: Annotated[dict[str, Any], Field(max_length=0)]
    canvas: _Canvas


def screened(raw: bytes, place: Place) -> dict[str, Any]:
    """The message as Kombu wants it; RefusedMessageError if it is none of ours, or not for this queue."""
    decoded = _decoded(raw)
    try:
        message = _Message.model_validate(decoded)
        parts = _json(_from_base64(message.body), "its body")
        if not isinstance(parts, list) or len(parts) != 3:
            raise RefusedMessageError("its body is not that of a task")
        body = _Body.model_validate(dict(zip(("arguments", "keywords", "canvas"), parts, strict=True)))
    except ValidationError as error:
        raise RefusedMessageError(_sentence(error)) from None
    _must_agree(message, body.arguments, place)
    assert isinstance(decoded, dict)
    return decoded


def well_formed(raw: bytes) -> dict[str, Any]:
    """A message to an inbox of Kombu's own, such as an answer to an inspection; RefusedMessageError if it is none."""
    decoded = _decoded(raw, limit=MAX_ANSWER_BYTES)
    if not isinstance(decoded, dict) or not is_well_formed(decoded):
        raise RefusedMessageError("it is no message")
    return decoded


def is_well_formed(message: object) -> bool:
    """Whether Kombu can deliver this: what it takes for granted of a message is there."""
    if not isinstance(message, dict) or not isinstance(message.get("headers", {}), dict | None):
        return False
    properties = message.get("properties")
    return (
        isinstance(properties, dict)
        and isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info"), dict)
        and properties.get("body_encoding") in (None, "base64")
        and isinstance(message.get("body"), str | None)
    )


def is_event(message: dict[str, Any]) -> bool:
    """Whether Celery's reader of worker and task events can take this without an error; a pool can tell anything."""
    body = message.get("body")
    if not isinstance(body, str) or message.get("content-type") != "application/json":
        return False
    try:
        text = _from_base64(body) if message["properties"].get("body_encoding") else body.encode()
        told = _json(text, "an event")
    except RefusedMessageError:
        return False
    return all(map(_is_telling, told if isinstance(told, list) else [told]))


def _is_telling(event: object) -> bool:
    if not isinstance(event, dict):
        return False
    kind, numbers = (
        event.get("type"),
        [event.get(name) for name in ("timestamp", "utcoffset", "clock", "local_received")],
    )
    return (
        isinstance(kind, str)
        and isinstance(event.get("hostname"), str)
        and isinstance(event.get("timestamp"), int | float)
        and all(isinstance(number, int | float | None) for number in numbers)
        and (not kind.startswith("task-") or isinstance(event.get("uuid"), str))
    )


def _decoded(raw: bytes, *, limit: int = MAX_MESSAGE_BYTES) -> object:
    if len(raw) > limit:
        raise RefusedMessageError(f"it has {len(raw)} bytes; {limit} are allowed")
    return _json(raw, "it")


def _json(raw: bytes, what: str) -> object:
    try:
        found: object = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise RefusedMessageError(f"{what} is nested too deeply") from None
    except ValueError:
        raise RefusedMessageError(f"{what} is not JSON") from None
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedMessageError("its body is not base64") from None


def _must_agree(message: _Message, arguments: list[str | int], place: Place) -> None:
    """Ids stand in several places; one message must not mean two calls."""
    headers, properties = message.headers, message.properties
    if not headers.task.startswith(place.task_prefix):
        raise RefusedMessageError("its task is none of this queue")
    if properties.delivery_info.routing_key != place.queue:
        raise RefusedMessageError("it is addressed to another queue")
    kinds = [type(argument) for argument in arguments]
    if kinds != ([str] if place.pool is None else [str, int, str]):
        raise RefusedMessageError("its arguments are not those of its task")
    run_id = str(arguments[0])
    ids = ":".join(map(str, arguments))
    is_agents = place.pool is None and (headers.id == run_id or _is_step(headers.id, run_id))
    if not (is_agents or (place.pool is not None and headers.id == ids)):
        raise RefusedMessageError("its id does not agree with its arguments")
    if properties.correlation_id != headers.id or headers.root_id != run_id:
        raise RefusedMessageError("its ids do not agree with one another")


def _is_step(task_id: str, run_id: str) -> bool:
    start, _, step = task_id.rpartition(":")
    return start == run_id and step.isdigit()


def _sentence(error: ValidationError) -> str:
    """Where and what kind; names only what we know ourselves, since the rest is the sender's."""
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if detail["type"] == "extra_forbidden":
        place = ".".join(map(str, detail["loc"][:-1])) or "the message"
        return f"{place} has a field that no message has"
    if detail["type"] == "missing":
        return f"{'.'.join(map(str, detail['loc']))} is missing"
    known = [str(part) for part in detail["loc"]]
    return f"{'.'.join(known) or 'it'} is not what it must be ({detail['type']})"
