"""What crosses the wall: one JSON request in, one JSON answer out.

The answer comes from strangers' code: it is parsed strictly, and whatever it claims, it cannot raise an exception here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Literal

from pydantic import JsonValue

from workers.sandbox.base import Limits

# JSON may write one byte of text as six.
WORST_ESCAPE = 6
ROOM_BYTES = 1 << 16


class BadAnswerError(ValueError):
    """The bytes are not a full, valid answer; the sentence says what is wrong."""


@dataclass(frozen=True)
class Answer:
    """What the child says of its call."""

    ok: bool
    content: str
    truncated: bool
    tools: list[dict[str, JsonValue]]


def request_bytes(
    verb: Literal["describe", "call"],
    *,
    tools: Sequence[str],
    project_dir: str,
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
    limits: Limits,
    tool_name: str = "",
    tool_args: Mapping[str, JsonValue] | None = None,
    workspace: Mapping[str, JsonValue] | None = None,
    live: bool = False,
) -> bytes:
    """The request as the child reads it, one line; the secrets travel here, never in argv.

    With a `workspace` (see `packing`) its archive, if there is one, follows behind the line's end. `live`: somebody
    reads what the tool prints while it runs, so it must not lie in a buffer.
    """
    request = {
        "verb": verb,
        "tools": list(tools),
        "project_dir": project_dir,
        "environment": dict(environment),
        "secrets": dict(secrets),
        "limits": _named(limits),
        "tool_name": tool_name,
        "tool_args": dict(tool_args or {}),
        "workspace": None if workspace is None else dict(workspace),
        "live": live,
    }
    return json.dumps(request).encode() + (b"" if workspace is None else b"\n")


@cache
def _named(limits: Limits) -> dict[str, object]:
    return asdict(limits)


def probe_bytes(asked: Mapping[str, object]) -> bytes:
    """The request to try the wall out."""
    request = {
        "verb": "probe",
        "asked": dict(asked),
        "tools": [],
        "project_dir": "/",
        "environment": {},
        "secrets": {},
        "limits": asdict(Limits()),
    }
    return json.dumps(request).encode()


def answer_limit_bytes(limits: Limits) -> int:
    """More than any honest answer needs."""
    return limits.output_kb * 1024 * WORST_ESCAPE + ROOM_BYTES


def parse_answer(raw: bytes) -> Answer:
    """The child's answer; raises `BadAnswerError` for anything but exactly one well-formed answer."""
    if not raw:
        raise BadAnswerError("gave no result")
    try:
        answer = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadAnswerError("gave a result that cannot be read") from error
    if not isinstance(answer, dict) or set(answer) != {"ok", "content", "truncated", "tools"}:
        raise BadAnswerError("gave a result of the wrong form")
    ok, content, truncated, tools = answer["ok"], answer["content"], answer["truncated"], answer["tools"]
    well_typed = isinstance(ok, bool) and isinstance(content, str) and isinstance(truncated, bool)
    if not well_typed or not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadAnswerError("gave a result of the wrong form")
    return Answer(ok=ok, content=content, truncated=truncated, tools=tools)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
