"""Streamed replies over real HTTP: how their events are found, and what becomes of their connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from agent_core.errors import ModelError
from agent_core.messages import Message
from agent_core.models import openai_stream
from agent_core.models.base import ModelReply, ModelRequest
from agent_core.models.openai import OpenAIChat
from agent_core.models.openai_stream import EventReader
from tests.support.http_model import HttpModel, Reply, http_model
from tests.support.waiting import wait_until

BOUND = 20.0
REQUEST = ModelRequest(messages=(Message(role="user", content="go"),))


def in_turn(model: HttpModel, times: int) -> list[object]:
    chat = OpenAIChat("m", base_url=model.base_url, api_key="k", max_retries=0, timeout=2 * BOUND)
    return [[*chat.stream(REQUEST)][-1] for _ in range(times)]


def in_turn_on_a_loop(model: HttpModel, times: int) -> list[object]:
    chat = OpenAIChat("m", base_url=model.base_url, api_key="k", max_retries=0, timeout=2 * BOUND)

    async def ask() -> list[object]:
        return [[part async for part in chat.astream(REQUEST)][-1] for _ in range(times)]

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [in_turn, in_turn_on_a_loop])
Ask = Callable[[HttpModel, int], list[object]]


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (b"data: a\n\ndata:b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b": still here\n\nevent: message\nid: 7\ndata:  a\n\n\n\n", [b" a"]),
        (b"data: a\ndata: b\n\ndata: not yet over", [b"a\nb"]),
        ("data: \u2028\u00e9\n\n".encode(), ["\u2028\u00e9".encode()]),
    ],
)
def test_events_are_found_however_their_bytes_are_cut(sent: bytes, found: list[bytes]) -> None:
    for first in range(len(sent) + 1):
        for second in range(first, len(sent) + 1):
            reader = EventReader()
            pieces = [sent[:first], sent[first:second], sent[second:]]
            assert [data for piece in pieces if piece for data in reader.feed(piece)] == found, pieces


@both
def test_one_connection_serves_replies_in_turn(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    # The end follows at once, but the thread that sends it may be held up.
    monkeypatch.setattr(openai_stream, "_END_SECONDS", BOUND)
    with http_model([Reply(content="hello", before_its_end=lambda: None)] * 3) as model:
        replies = ask(model, 3)
    assert [isinstance(reply, ModelReply) and reply.content for reply in replies] == ["hello"] * 3
    assert len(model.connections) == 1


@both
def test_a_reply_does_not_wait_for_the_end_of_its_body(ask: Ask) -> None:
    answered = threading.Event()
    waited_for: list[bool] = []
    held = Reply(content="hello", before_its_end=lambda: waited_for.append(answered.wait(BOUND)))
    with http_model([held, Reply(content="again", before_its_end=lambda: None)]) as model:
        (first,) = ask(model, 1)
        answered.set()
        (second,) = ask(model, 1)
        wait_until(lambda: waited_for, "the first body ends")
    assert isinstance(first, ModelReply) and isinstance(second, ModelReply)
    assert (first.content, second.content, waited_for) == ("hello", "again", [True])


@both
def test_a_reply_does_not_wait_for_the_end_of_a_body_that_goes_on_and_on(ask: Ask) -> None:
    over = threading.Event()
    try:
        with http_model([Reply(content="hello", before_its_end=lambda: None, pings_until=over)]) as model:
            (reply,) = ask(model, 1)
    finally:
        over.set()
    assert isinstance(reply, ModelReply) and reply.content == "hello"


@both
def test_an_error_in_the_middle_is_told_in_its_words(ask: Ask) -> None:
    said = b'data: {"choices": [{"delta": {"content": "I"}}]}\n\ndata: {"error": {"message": "out of tokens"}}\n\n'
    with http_model([Reply(raw=said)]) as model, pytest.raises(ModelError, match="out of tokens"):
        ask(model, 1)
