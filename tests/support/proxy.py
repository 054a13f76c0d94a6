"""A TCP proxy in front of a server, which can be slow, stall, hold answers back, cut all connections, and lead
elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from tests.support.looped import Looped


class Proxy(Looped):
    """Listens on a port of its own for the length of a `with` block. What is set holds from the next byte on."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__("proxy")
        self.target = port
        self._tls = tls  # for its clients; the server is spoken to without
        self.delay_seconds = 0.0  # each way
        self.accepted = 0
        self.taken = 0  # bytes, from clients and from the server
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def stall(self) -> None:
        """Let nothing through, and keep every connection, until `resume`."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.set)
        self._loop.call_soon_threadsafe(self._answering.set)

    def mute(self) -> None:
        """Let what clients send through, and keep the answers, until `resume`; those of connections cut are lost."""
        self._loop.call_soon_threadsafe(self._answering.clear)

    def cut(self) -> None:
        """End all connections."""
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _open(self) -> None:
        self._flowing, self._answering = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        self._answering.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        self._abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        for one, other, gate in ((reader, far_writer, self._flowing), (far_reader, writer, self._answering)):
            task = self._loop.create_task(self._carry(one, other, gate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        """Each piece is passed on as much later as the delay says; those behind it do not wait for it."""
        self._writers.add(writer)
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        passing = self._loop.create_task(self._pass_on(pieces, writer, gate))
        try:
            with contextlib.suppress(OSError):
                while piece := await reader.read(1 << 16):
                    self.taken += len(piece)
                    pieces.put_nowait((self._loop.time() + self.delay_seconds, piece))
            pieces.put_nowait((self._loop.time() + self.delay_seconds, b""))
            await passing
        finally:
            passing.cancel()
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass_on(
        self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(due - self._loop.time())
            await self._flowing.wait()
            await gate.wait()
            if not piece:
                return
            with contextlib.suppress(OSError):
                writer.write(piece)
                await writer.drain()
