"""A model server that thinks for no time: `python -m workers.bench.model`. It does as the prompt says.

Of the prompt "calls=2 steps=3 wait=0.5" three steps are made of two calls each, then a text follows; each answer comes
after half a second. When a request arrived stands in the arguments of its calls, or is its text. Never a framework
between the socket and the answer: what the model costs is in every run, and is not what is to be measured.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
import time
from typing import Any

from workers.model_server.answers import Answer, Call, Envelope, as_server_sent_event

READY = "Bench model ready at"
TOOL = "stamp"
_WISH = re.compile(r"\b(calls|steps|wait)=([0-9.]+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_BACKLOG = 1024


def prompt(*, calls: int, steps: int = 1, wait_seconds: float = 0) -> str:
    """What to ask for an answer of that kind."""
    return f"Please: calls={calls} steps={steps} wait={wait_seconds:g}"


def answer_to(body: dict[str, Any], *, asked_at: int) -> tuple[Answer, float]:
    """What the model says to a request, and after how many seconds."""
    messages: list[dict[str, Any]] = body["messages"]
    place = max(number for number, message in enumerate(messages) if message["role"] == "user")
    wish = {name: float(value) for name, value in _WISH.findall(_text(messages[place]))}
    turns = sum(message["role"] == "assistant" for message in messages[place:])
    if turns >= wish.get("steps", 0):
        return Answer(text=str(asked_at)), wish.get("wait", 0)
    arguments = json.dumps({"asked_at": str(asked_at)})
    calls = (Call(f"call_{secrets.token_hex(8)}", TOOL, arguments) for _ in range(int(wish.get("calls", 0))))
    return Answer(calls=tuple(calls)), wish.get("wait", 0)


class ModelConnection(asyncio.Protocol):
    """One connection of a client: its requests, one after the other."""

    def __init__(self) -> None:
        self._taken = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        asked_at = time.time_ns()
        self._taken += data
        head, end, rest = self._taken.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        wanted = int(length[1]) if length else 0
        if not end or len(rest) < wanted:
            return
        self._taken = rest[wanted:]
        body = json.loads(rest[:wanted] or b"null")
        if not isinstance(body, dict) or "messages" not in body:
            self._send("404 Not Found", "application/json", "{}")
            return
        answer, wait_seconds = answer_to(body, asked_at=asked_at)
        if wait_seconds:
            asyncio.get_running_loop().call_later(wait_seconds, self._answer, body, answer)
        else:
            self._answer(body, answer)

    def _answer(self, body: dict[str, Any], answer: Answer) -> None:
        envelope = Envelope(secrets.token_hex(8), int(time.time()), str(body.get("model")), prompt_tokens=1)
        if not body.get("stream"):
            self._send("200 OK", "application/json", json.dumps(envelope.completion(answer)))
            return
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        chunks = map(as_server_sent_event, envelope.chunks(answer, include_usage=wants_usage))
        self._send("200 OK", "text/event-stream", "".join(chunks) + "data: [DONE]\n\n")

    def _send(self, status: str, kind: str, text: str) -> None:
        content = text.encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        self._transport.write(head.encode("ascii") + content)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else json.dumps(content)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(ModelConnection, "127.0.0.1", 0, backlog=_BACKLOG)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"{READY} http://127.0.0.1:{port}/v1\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
