"""The strict reading of an answer."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.sandbox.base import Limits
from workers.sandbox.wire import Answer, BadAnswerError, answer_limit_bytes, parse_answer, request_bytes

GOOD = {"ok": True, "content": "3", "truncated": False, "tools": []}


def test_a_good_answer_is_read() -> None:
    assert parse_answer(json.dumps(GOOD).encode()) == Answer(ok=True, content="3", truncated=False, tools=[])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"NaN",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps(GOOD).encode() * 2,
        json.dumps(GOOD | {"ok": "yes"}).encode(),
        json.dumps(GOOD | {"tools": ["x"]}).encode(),
        json.dumps(GOOD | {"more": 1}).encode(),
        json.dumps(GOOD).replace('"3"', "Infinity").encode(),
        json.dumps(GOOD).replace('"3"', "9" * 5000).encode(),
    ],
)
def test_anything_else_is_refused_with_a_reason(raw: bytes) -> None:
    with pytest.raises(BadAnswerError, match="gave"):
        parse_answer(raw)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with contextlib.suppress(BadAnswerError):
        parse_answer(raw)


def test_an_honest_answer_always_fits() -> None:
    limits = Limits(output_kb=1)
    worst = json.dumps(GOOD | {"content": "\0" * 1024})

    assert len(worst) < answer_limit_bytes(limits)


def test_a_request_carries_everything_as_json() -> None:
    raw = request_bytes(
        "call",
        tools=["m:t"],
        project_dir="/p",
        environment={"A": "1"},
        secrets={"S": "2"},
        limits=Limits(pids=5),
        tool_name="t",
        tool_args={"x": [1, None]},
    )

    request = json.loads(raw)
    assert request["tool_args"] == {"x": [1, None]}
    assert request["limits"]["pids"] == 5
    assert request["secrets"] == {"S": "2"}
