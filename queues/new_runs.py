"""What a producer may ask for with a new run; looked at before anything is sent, so that each mistake is named."""

from __future__ import annotations

import json
from collections.abc import Mapping

from queues.topology import LANES
from queues.webhook_urls import checked_webhook_url

LONGEST_DEADLINE_SECONDS = 366 * 86_400


def check_new_run(
    *,
    agent: object,
    input: object,
    lane: object,
    idempotency_key: object,
    session_id: object,
    user_id: object,
    deadline_seconds: object,
    metadata: object,
    webhook_url: object,
) -> None:
    """Return if a run may be made of this; ValueError, or WebhookUrlError, names the field and what it takes."""
    _check_text("agent", agent, may_be_empty=False)
    _check_text("input", input)
    if lane not in LANES:
        raise ValueError(f"priority is {lane!r}; choose one of {', '.join(LANES)}")
    if idempotency_key is not None:
        # One that is empty by mistake would make one run of all that are submitted so.
        _check_text("idempotency_key", idempotency_key, may_be_empty=False)
    for name, value in (("session_id", session_id), ("user_id", user_id)):
        if value is not None:
            _check_text(name, value)
    if deadline_seconds is not None:
        _check_deadline(deadline_seconds)
    if metadata is not None:
        _check_metadata(metadata)
    if webhook_url is not None:
        _check_text("webhook_url", webhook_url)
        checked_webhook_url(str(webhook_url))


def _check_text(name: str, value: object, *, may_be_empty: bool = True) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} is of type {type(value).__name__}; give a str")
    if not (value or may_be_empty):
        raise ValueError(f"{name} is empty; give a text")


def _check_deadline(seconds: object) -> None:
    if isinstance(seconds, int | float) and 0 < seconds <= LONGEST_DEADLINE_SECONDS:
        return
    raise ValueError(
        f"deadline_seconds is {seconds!r}; give a time from now, above 0 and at most {LONGEST_DEADLINE_SECONDS}"
    )


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata is of type {type(metadata).__name__}; give a dict")
    try:
        json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata must be an object that JSON can hold: {error}") from error
