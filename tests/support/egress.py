"""Real servers and clients for the proxy's tests, and a resolver that answers as it is told.

It never reaches beyond this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workers.sandbox.egress.policy import Policy
from workers.sandbox.egress.server import Served

SECONDS = 30
Answer = Callable[[bytes], bytes]


class Names:
    """A resolver: each name's answers, one list for each time that it is asked; the last one stays."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("__", "."): [list(each) for each in lists] for name, lists in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        lists = self._answers.get(host)
        if lists is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return lists.pop(0) if len(lists) > 1 else lists[0]


@dataclass
class Server:
    """A server on the loopback device that keeps what it read and answers each connection once."""

    port: int
    heard: list[bytes] = field(default_factory=list)


@contextlib.asynccontextmanager
async def listening(answer: Answer, *, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server that reads until there is a whole request (or the end), answers with `answer(request)`, and closes."""
    found: list[Server] = []
    open_connections: list[asyncio.StreamWriter] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.append(writer)
        place = len(found[0].heard)
        found[0].heard.append(b"")
        with contextlib.suppress(OSError):
            while not answer(found[0].heard[place]) and (chunk := await reader.read(1 << 16)):
                found[0].heard[place] += chunk
            writer.write(answer(found[0].heard[place]))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context)
    found.append(Server(server.sockets[0].getsockname()[1]))
    try:
        yield found[0]
    finally:
        server.close()
        for writer in open_connections:
            writer.transport.abort()
        await asyncio.sleep(0)


def page(text: bytes, *, status: bytes = b"200 OK", headers: bytes = b"") -> Answer:
    """An answer to the first request whose head is complete."""
    body = b"HTTP/1.1 " + status + b"\r\n" + headers + b"content-length: %d\r\n\r\n" % len(text) + text
    return lambda heard: body if b"\r\n\r\n" in heard else b""


@dataclass
class Way:
    """A listener that is being served, and what it told at its end."""

    port: int
    told: dict[str, dict[str, int]] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def way_out(policy: Policy, names: Names) -> AsyncIterator[Way]:
    """Serve a listener of its own within this loop; at the end the account is there."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (listener, ours, theirs):
        end.setblocking(False)
    way = Way(listener.getsockname()[1])
    serving = asyncio.create_task(Served(listener, theirs, policy, names).until_ended())
    try:
        yield way
    finally:
        ours.shutdown(socket.SHUT_WR)
        await asyncio.wait_for(serving, SECONDS)
        way.told = json.loads(ours.recv(1 << 17))
        ours.close()


async def exchange(port: int, *sent: bytes, patience_seconds: float = SECONDS) -> bytes:
    """Send the pieces and read to the end; a reset is an end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        async with asyncio.timeout(patience_seconds):
            with contextlib.suppress(ConnectionError):
                for piece in sent:
                    writer.write(piece)
                    await writer.drain()
                while chunk := await reader.read(1 << 16):
                    received += chunk
    finally:
        writer.close()
    return received


async def tunnel(port: int, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """A tunnel to `target`, and the head of the answer that opened or refused it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SECONDS)
    return reader, writer, head


def certificate(folder: Path, *names: str) -> Path:
    """A self-signed certificate with its key, for these names."""
    file = folder / "certificate.pem"
    subject = ["-subj", f"/CN={names[0]}", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", str(file), "-out", str(folder / "public.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    file.write_text(file.read_text() + (folder / "public.pem").read_text())
    return file
