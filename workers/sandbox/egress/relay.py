"""One connection of a tool: its request judged, then carried, with every byte counted.

It never serves a second request on a connection, and never goes on where TLS asks for another name than the tunnel's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine

from workers.resolving import Resolver
from workers.sandbox.egress.bodies import CHUNK_BYTES, forward_body
from workers.sandbox.egress.heads import BadHeadError, Head, parse_head
from workers.sandbox.egress.hello import ALERT, MOST_BYTES, MalformedHelloError, begins_hello, server_name
from workers.sandbox.egress.policy import Policy, normal_host
from workers.sandbox.egress.reaching import RefusedError, Streams, reach
from workers.sandbox.egress.traffic import Traffic

_LINGER_SECONDS = 1
_LINGER_BYTES = 1 << 20
_REASONS = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large", 501: "Not Implemented"}


class Relay:
    """Serves one connection from its first byte to its last."""

    def __init__(self, client: Streams, *, policy: Policy, traffic: Traffic, resolver: Resolver) -> None:
        self._reader, self._writer = client
        self._policy = policy
        self._traffic = traffic
        self._resolver = resolver
        self._moved_at = 0.0

    async def serve(self) -> None:
        """Answer or carry the connection's one request; afterwards nothing of it is open."""
        head: Head | None = None
        try:
            try:
                head = await self._head()
                server = await self._server_for(head)
            except (BadHeadError, RefusedError) as error:
                if head is not None and error.status == 403:
                    self._traffic.refuse(head.host, head.port)
                await self._answer(error.status, str(error))
                return
            try:
                await self._carry(head, server)
            finally:
                await _closed(server[1])
        finally:
            await _closed(self._writer)

    async def turn_away(self, status: int, words: str) -> None:
        """Answer without having read a request; afterwards nothing of the connection is open."""
        try:
            await self._answer(status, words)
        finally:
            await _closed(self._writer)

    async def _answer(self, status: int, words: str) -> None:
        """Say why nothing is carried, so that a model can act on it, and see to it that the words arrive."""
        # Many clients show of a refused tunnel nothing but the reason in the status line.
        reason = _REASONS.get(status, words)
        body = f"{words}\n".encode()
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
        with contextlib.suppress(OSError):
            self._writer.write(head.encode("ascii", "replace") + b"connection: close\r\n\r\n" + body)
            await self._drained(self._writer)
            self._writer.write_eof()
            # Closing before the client has sent its whole body would reset the connection and take these words along.
            async with asyncio.timeout(_LINGER_SECONDS):
                dropped = 0
                while dropped < _LINGER_BYTES and (chunk := await self._reader.read(CHUNK_BYTES)):
                    dropped += len(chunk)

    async def _head(self) -> Head:
        try:
            async with asyncio.timeout(self._policy.head_seconds):
                raw = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise BadHeadError("The request ends within its head.") from error
        except asyncio.LimitOverrunError as error:
            raise BadHeadError(f"The head of the request is over {self._policy.head_bytes} bytes.", 431) from error
        except TimeoutError as error:
            raise BadHeadError("The head of the request did not come in time.", 408) from error
        if len(raw) > self._policy.head_bytes:
            raise BadHeadError(f"The head of the request is over {self._policy.head_bytes} bytes.", 431)
        return parse_head(raw)

    async def _server_for(self, head: Head) -> Streams:
        if self._traffic.used_up:
            most = self._policy.traffic_bytes / (1 << 20)
            raise RefusedError(f"This call has moved {most:g} MiB through the network, which is all that it may.")
        return await reach(head.host, head.port, policy=self._policy, resolver=self._resolver)

    async def _carry(self, head: Head, server: Streams) -> None:
        self._moved_at = asyncio.get_running_loop().time()
        name = self._traffic.open(head.host, head.port)
        outward: Coroutine[object, object, None]
        if head.tunnel:
            self._writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            outward = self._tunnelled(head.host, server[1], name)
        else:
            outward = self._forwarded(head, server[1], name)
        inward = self._pumped(server[0], self._writer, self._traffic.received, name)
        out, back = asyncio.ensure_future(outward), asyncio.ensure_future(inward)
        try:
            await self._until_over(out, back, tunnel=head.tunnel)
        finally:
            for task in (out, back):
                task.cancel()
            await asyncio.gather(out, back, return_exceptions=True)

    async def _until_over(self, out: asyncio.Task[None], back: asyncio.Task[None], *, tunnel: bool) -> None:
        """A plain response ends with its connection; a tunnel lasts until both sides have said their last."""
        pending = {out, back}
        while pending:
            patience = self._moved_at + self._policy.idle_seconds - asyncio.get_running_loop().time()
            if patience <= 0:
                return
            done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if any(task.exception() is not None for task in done) or (not tunnel and back in done):
                return

    async def _tunnelled(self, host: str, writer: asyncio.StreamWriter, name: str) -> None:
        first = await self._reader.read(CHUNK_BYTES)
        if begins_hello(first):
            complete, asked = server_name(first)
            while not complete:
                more = await self._reader.read(CHUNK_BYTES)
                if not more or len(first) > MOST_BYTES:
                    raise MalformedHelloError("it does not end")
                first += more
                complete, asked = server_name(first)
            if asked is not None and not self._may_ask(host, asked):
                self._traffic.refuse(normal_host(asked) or "(no name)", 0)
                self._writer.write(ALERT)
                await self._drained(self._writer)
                raise RefusedError(f"The tunnel was opened to {host}, but TLS asks for another name.")
        if first:
            await self._pass(first, writer, self._traffic.sent, name)
        await self._pumped(self._reader, writer, self._traffic.sent, name)

    def _may_ask(self, host: str, asked: str) -> bool:
        name = normal_host(asked)
        if name == host:
            return True
        # Who connects to a literal address may ask for any name on the list, for an address has none of its own.
        literal = ":" in host or host.rpartition(".")[2].isdecimal()
        return literal and name is not None and self._policy.refused(name, self._policy.ports[0]) is None

    async def _forwarded(self, head: Head, writer: asyncio.StreamWriter, name: str) -> None:
        await self._pass(head.forwarded, writer, self._traffic.sent, name)
        await forward_body(head, self._reader, lambda chunk: self._pass(chunk, writer, self._traffic.sent, name))

    async def _pumped(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, among: Counter[str], name: str
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._pass(chunk, writer, among, name)
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _pass(self, chunk: bytes, writer: asyncio.StreamWriter, among: Counter[str], name: str) -> None:
        self._moved_at = asyncio.get_running_loop().time()
        if not self._traffic.count(among, name, len(chunk)):
            raise RefusedError("The call has moved as many bytes as it may.")
        writer.write(chunk)
        await self._drained(writer)

    async def _drained(self, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._policy.idle_seconds):
            await writer.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close the connection, giving what is written a moment to leave."""
    writer.close()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(_LINGER_SECONDS):
            await writer.wait_closed()
    writer.transport.abort()
