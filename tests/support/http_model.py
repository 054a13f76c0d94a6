"""A model endpoint over real HTTP that plays a list of replies, whole or streamed, good or broken.

Never thinks: which reply comes next is the test's business.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer of the endpoint. `breaks_after` cuts a stream after so many chunks, without a finish_reason.

    A stream with `before_its_end` keeps its connection; that is called when all but the end of the body is sent. Then
    comments follow until `pings_until` is set.
    """

    content: str | None = None
    calls: Sequence[tuple[str, str, str]] = ()  # id, name, arguments
    finish_reason: str | None = None
    refusal: str | None = None
    status: int = 200
    raw: bytes | None = None
    breaks_after: int | None = None
    drops_connection: bool = False
    before_its_end: Callable[[], object] | None = None
    pings_until: threading.Event | None = None

    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.content, "refusal": self.refusal}
        if self.calls:
            message["tool_calls"] = [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for call_id, name, arguments in self.calls
            ]
        return message

    def completion(self) -> dict[str, Any]:
        reason = self.finish_reason or ("tool_calls" if self.calls else "stop")
        choice = {"index": 0, "message": self.message(), "finish_reason": reason}
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": USAGE,
        }

    def chunks(self) -> list[dict[str, Any]]:
        deltas: list[dict[str, Any]] = [{"role": "assistant"}]
        deltas += [{"content": piece} for piece in (self.content or "")]
        deltas += [{"refusal": piece} for piece in (self.refusal or "")]
        for place, (call_id, name, arguments) in enumerate(self.calls):
            deltas.append({"tool_calls": [{"index": place, "id": call_id, "function": {"name": name}}]})
            half = len(arguments) // 2
            for part in (arguments[:half], arguments[half:]):
                deltas.append({"tool_calls": [{"index": place, "function": {"arguments": part}}]})
        reason = self.finish_reason or ("tool_calls" if self.calls else "stop")
        chunks = [_chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
        chunks.append(_chunk([{"index": 0, "delta": {}, "finish_reason": reason}]))
        chunks.append(_chunk([]) | {"usage": USAGE})
        return chunks if self.breaks_after is None else chunks[: self.breaks_after]


def _chunk(choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}


@dataclass
class HttpModel:
    """The running endpoint: where it is, what it was asked, with which headers (names in lower case), from where."""

    base_url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)


Script = Sequence[Reply | Callable[[dict[str, Any]], Reply]]


@contextmanager
def http_model(script: Script) -> Iterator[HttpModel]:
    """Serve the script on a port of 127.0.0.1; past its end the endpoint answers with status 500."""
    replies = iter(script)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a reply goes out in several writes, and must not wait 40 ms between them

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                model.requests.append(body)
                model.connections.add(self.client_address)
                model.headers.append({name.lower(): value for name, value in self.headers.items()})
                reply = next(replies, Reply(status=500, raw=b'{"error": {"message": "the script is over"}}'))
            reply = reply if isinstance(reply, Reply) else reply(body)
            if reply.raw is not None or not body.get("stream"):
                self._send(reply.status, reply.raw or json.dumps(reply.completion()).encode())
            else:
                self._stream(reply)

        def _send(self, status: int, text: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _stream(self, reply: Reply) -> None:
            self.close_connection = reply.before_its_end is None
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            if reply.drops_connection:
                self.send_header("content-length", "1000000")
            elif reply.before_its_end is not None:
                self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            events = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in reply.chunks()]
            for event in [*events, b"data: [DONE]\n\n"] if reply.breaks_after is None else events:
                self.wfile.write(event if self.close_connection else b"%x\r\n%b\r\n" % (len(event), event))
            if reply.before_its_end is not None:
                reply.before_its_end()
                self._ping(reply.pings_until)
                self.wfile.write(b"0\r\n\r\n")

        def _ping(self, over: threading.Event | None) -> None:
            while over is not None and not over.wait(0.02):
                self.wfile.write(b"8\r\n: ping\n\n\r\n")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of clients that hang up."""

    server = Server(("127.0.0.1", 0), Handler)
    model = HttpModel(base_url=f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
