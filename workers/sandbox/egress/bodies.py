"""The body of a plain request, carried on byte for byte as its head announced it and no further.

It never lets a byte behind the body out: to the server that would be a second request, which nobody has judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from workers.sandbox.egress.heads import BadHeadError, Head

CHUNK_BYTES = 1 << 16
_CHUNK_LINE_BYTES = 1024
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_MOST_HEX_DIGITS = 12

Send = Callable[[bytes], Awaitable[None]]


async def forward_body(head: Head, reader: asyncio.StreamReader, send: Send) -> None:
    """Read exactly the body and send it on; raises `BadHeadError` or IncompleteReadError if it is not as announced."""
    if head.chunked:
        await _forward_chunks(reader, send)
    else:
        await _forward_bytes(head.length, reader, send)


async def _forward_bytes(count: int, reader: asyncio.StreamReader, send: Send) -> None:
    while count > 0:
        chunk = await reader.read(min(count, CHUNK_BYTES))
        if not chunk:
            raise BadHeadError("The body ends early.")
        count -= len(chunk)
        await send(chunk)


async def _forward_chunks(reader: asyncio.StreamReader, send: Send) -> None:
    while size := await _chunk_size(reader):
        await send(b"%x\r\n" % size)
        await _forward_bytes(size, reader, send)
        if await reader.readexactly(2) != b"\r\n":
            raise BadHeadError("A chunk is longer than it says.")
        await send(b"\r\n")
    # What a client appends as trailers stays here: a server might take them for headers.
    await send(b"0\r\n\r\n")


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    line = await reader.readuntil(b"\r\n")
    digits = line[:-2].partition(b";")[0]
    well_formed = 0 < len(digits) <= _MOST_HEX_DIGITS and _HEX_DIGITS.issuperset(digits)
    if len(line) > _CHUNK_LINE_BYTES or b"\n" in line[:-2] or b"\r" in line[:-2] or not well_formed:
        raise BadHeadError("The size of a chunk is malformed.")
    return int(digits, 16)
