"""Reads the chunks of a streamed completion from a response, and leaves its connection fit for the next request.

Never puts a reply together, and never asks for anything. The SDK's own stream spends more on an event than all that is
done with it afterwards, and when it is read by a thread it throws the connection away at the end of each reply.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import httpx2
from openai import APIConnectionError, APIError, APITimeoutError

_DONE = b"[DONE]"
_LINE_END = re.compile(rb"\r\n|\n|\r")
# How long the end of a body is waited for after its last event: it comes along with that, or from a server that would
# hold up a reply which is complete.
_END_SECONDS = 0.1


class EventReader:
    """Finds the server-sent events in a stream of bytes, however that is cut into pieces."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._data: list[bytes] = []
        self._may_go_on = False  # the last piece ended in a carriage return, which is half of a line's end

    def feed(self, piece: bytes) -> list[bytes]:
        """Take in a piece; return the data of all events that end in it. Other fields, comments and beats are none."""
        if self._may_go_on:
            piece = piece.removeprefix(b"\n")
        self._may_go_on = piece.endswith(b"\r")
        *ended, begun = _LINE_END.split(piece)
        if ended and self._begun:
            ended[0] = bytes(self._begun + ended[0])
            self._begun.clear()
        self._begun += begun
        return [data for line in ended if (data := self._take(line)) is not None]

    def _take(self, line: bytes) -> bytes | None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            return data
        return None


def chunks_of(response: httpx2.Response) -> Generator[object, None, None]:
    """Yield what each event says, and close the response; an error of the SDK's if it breaks off or tells of one."""
    events = EventReader()
    try:
        pieces = response.iter_bytes()
        for piece in pieces:
            for data in events.feed(piece):
                if data.startswith(_DONE):
                    _read_to_end(response, pieces)
                    return
                yield _chunk(data, response)
    except httpx2.RequestError as error:
        raise _broken_off(error, response) from error
    finally:
        response.close()


async def achunks_of(response: httpx2.Response) -> AsyncGenerator[object, None]:
    """Do as `chunks_of`."""
    events = EventReader()
    try:
        pieces = response.aiter_bytes()
        async for piece in pieces:
            for data in events.feed(piece):
                if data.startswith(_DONE):
                    await _aread_to_end(response, pieces)
                    return
                yield _chunk(data, response)
    except httpx2.RequestError as error:
        raise _broken_off(error, response) from error
    finally:
        await response.aclose()


def _chunk(data: bytes, response: httpx2.Response) -> object:
    said = json.loads(data)
    error = said.get("error") if isinstance(said, dict) else None
    if error:
        message = error.get("message") if isinstance(error, dict) else None
        text = message if isinstance(message, str) and message else "An error occurred during streaming"
        raise APIError(text, response.request, body=error)
    return said


def _broken_off(error: httpx2.RequestError, response: httpx2.Response) -> APIConnectionError:
    if isinstance(error, httpx2.TimeoutException):
        return APITimeoutError(request=response.request)
    return APIConnectionError(request=response.request)


def _read_to_end(response: httpx2.Response, pieces: Iterator[bytes]) -> None:
    """Read what is left of a body: of HTTP/1.1 only a connection that was read to the end serves another request."""
    if response.http_version != "HTTP/1.1":
        return
    network: Any = response.extensions.get("network_stream")
    with suppress(httpx2.RequestError):  # the reply is complete; the connection is given up
        if network is None:
            return
        # One body has one time-out, which is the model's, who may think for minutes.
        network.read = partial(_read_soon, network.read)
        until = time.monotonic() + _END_SECONDS
        try:
            for _ in pieces:
                if time.monotonic() > until:
                    break
        finally:
            del network.read


def _read_soon(read: Any, max_bytes: int, timeout: float | None = None) -> bytes:
    data: bytes = read(max_bytes, timeout=_END_SECONDS)
    return data


async def _aread_to_end(response: httpx2.Response, pieces: AsyncIterator[bytes]) -> None:
    if response.http_version != "HTTP/1.1":
        return
    with suppress(httpx2.RequestError, TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            async for _ in pieces:
                pass
