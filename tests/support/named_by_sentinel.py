"""What a Sentinel says to clients, over TLS, of a server that no real one could look after: itself behind TLS only."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from tests.support.looped import Looped


class NamingSentinel(Looped):
    """Listens for the length of a `with` block, and names the port `primary` of this machine, which it may doubt."""

    def __init__(self, primary: int, *, tls: ssl.SSLContext, password: str, flags: str = "master") -> None:
        super().__init__("sentinel")
        self.asked: list[str] = []
        self._primary, self._tls, self._password, self._flags = primary, tls, password, flags
        self._tasks: set[asyncio.Task[object]] = set()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        is_known = False
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while words := await _command(reader):
                if words[0] == "AUTH":
                    is_known = words[-1] == self._password
                if words[0] in ("AUTH", "CLIENT"):
                    writer.write(b"+OK\r\n" if is_known else b"-WRONGPASS invalid password\r\n")
                elif not is_known:
                    writer.write(b"-NOAUTH Authentication required.\r\n")
                else:
                    self.asked.append(" ".join(words))
                    writer.write(self._named())

    def _named(self) -> bytes:
        told = {"name": "mymaster", "ip": "127.0.0.1", "port": self._primary, "flags": self._flags,
                "num-other-sentinels": 2}  # fmt: skip
        words = [str(word).encode() for pair in told.items() for word in pair]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


async def _command(reader: asyncio.StreamReader) -> list[str]:
    head = await reader.readline()
    words = []
    for _ in range(int(head[1:] or 0)):
        await reader.readline()
        words.append((await reader.readline()).decode().strip())
    return words
