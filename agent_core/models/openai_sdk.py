"""One chat completions endpoint, reached over the `openai` SDK.

Never imported before the first call of a model: loading the SDK takes longer than all the rest of this package.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import Any

import httpx2
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AuthenticationError,
    NotFoundError,
    OpenAI,
    OpenAIError,
    PermissionDeniedError,
)

from agent_core.errors import ModelError
from agent_core.models.base import ModelReply
from agent_core.models.openai_stream import achunks_of, chunks_of
from agent_core.models.openai_wire import StreamReader, Wire, read_completion

# The SDK's own `create` would walk the whole body to translate it, which takes longer than the rest of the call and
# grows with the conversation; what comes here is in wire form already. `post` is the SDK's door for such bodies. Its
# answers are taken in wire form as well (`object`), and streams as the bare response: to make objects of each chunk
# costs more than the rest.
_PATH = "/chat/completions"
_STREAM: Wire = {"stream": True, "stream_options": {"include_usage": True}}

# What the SDK raises: its own errors, the transport's, and those of reading what is no JSON.
_FAULTS = (OpenAIError, httpx2.HTTPError, ValueError)


class Endpoint:
    """Asks one model, in all four ways; `ModelError` if there is no reply. Safe among threads and event loops.

    There is one client for all threads, and one for each event loop, closed when that ends.
    """

    def __init__(self, model: str, *, connection: dict[str, Any], options: dict[str, Any]) -> None:
        self._model = model
        self._connection = connection
        self._options: Any = options
        self._lock = threading.Lock()
        self._client = OpenAI(**connection)
        self._by_loop: dict[asyncio.AbstractEventLoop, tuple[AsyncOpenAI, AsyncGenerator[None, None]]] = {}

    def reply(self, body: Wire) -> ModelReply:
        """Return the reply to `body`; blocks."""
        try:
            completion = self._client.post(_PATH, cast_to=object, body=body, options=self._options)
            return read_completion(completion, model=self._model)
        except _FAULTS as error:
            raise self._fault(error) from error

    async def areply(self, body: Wire) -> ModelReply:
        """Do as `reply`."""
        client = await self._aclient()
        try:
            completion = await client.post(_PATH, cast_to=object, body=body, options=self._options)
            return read_completion(completion, model=self._model)
        except _FAULTS as error:
            raise self._fault(error) from error

    def stream(self, body: Wire) -> Generator[str | ModelReply, None, None]:
        """Yield the text as it comes, then the reply; `ModelError` if the stream breaks off.

        One that breaks off before any text is asked for once more, whole, unless the SDK is to try nothing again: it
        tries again by itself only until a stream begins.
        """
        reader, began = StreamReader(model=self._model), False
        try:
            response: Any = self._client.post(
                _PATH, cast_to=httpx2.Response, body=body | _STREAM, options=self._options, stream=True
            )
            began = True
            with closing(chunks_of(response)) as chunks:
                for chunk in chunks:
                    if text := reader.feed(chunk):
                        yield text
        except _FAULTS as error:
            if not (began and self._may_ask_again(reader, error)):
                raise self._fault(error) from error
        else:
            yield reader.reply()
            return
        yield self.reply(body)

    async def astream(self, body: Wire) -> AsyncGenerator[str | ModelReply, None]:
        """Do as `stream`."""
        client, reader, began = await self._aclient(), StreamReader(model=self._model), False
        try:
            response: Any = await client.post(
                _PATH, cast_to=httpx2.Response, body=body | _STREAM, options=self._options, stream=True
            )
            began = True
            async with aclosing(achunks_of(response)) as chunks:
                async for chunk in chunks:
                    if text := reader.feed(chunk):
                        yield text
        except _FAULTS as error:
            if not (began and self._may_ask_again(reader, error)):
                raise self._fault(error) from error
        else:
            yield reader.reply()
            return
        yield await self.areply(body)

    async def _aclient(self) -> AsyncOpenAI:
        loop = asyncio.get_running_loop()
        with self._lock:
            for closed in [known for known in self._by_loop if known.is_closed()]:
                del self._by_loop[closed]
            if loop in self._by_loop:
                return self._by_loop[loop][0]
            client = AsyncOpenAI(**self._connection)
            # Connections belong to the loop that made them. A loop finishes the async generators begun in it before it
            # closes, so a generator is the one place from which the client can be closed in time.
            keeper = self._keep(client, loop)
            self._by_loop[loop] = client, keeper
        await anext(keeper)
        return client

    async def _keep(self, client: AsyncOpenAI, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._by_loop.pop(loop, None)
            await client.close()

    def _may_ask_again(self, reader: StreamReader, error: Exception) -> bool:
        broke_off = isinstance(error, APIConnectionError | httpx2.HTTPError)
        return broke_off and not reader.has_spoken and self._client.max_retries > 0

    def _fault(self, error: Exception) -> ModelError:
        """Return the error in a sentence that names the model and the way out."""
        model, retryable = self._model, True
        reason = getattr(error, "message", None) or str(error) or type(error).__name__
        match error:
            case AuthenticationError() | PermissionDeniedError():
                text = (
                    f"The endpoint of model {model!r} refused the API key: {reason}. Check OPENAI_API_KEY or api_key="
                )
                retryable = False
            case NotFoundError():
                text = f"The endpoint does not know model {model!r}: {reason}. Check id= and base_url=."
                retryable = False
            case APITimeoutError():
                text = f"Model {model!r} did not answer in time. Raise timeout=, or ask for less."
            case APIStatusError(status_code=status):
                text = f"The endpoint of model {model!r} answered with status {status}: {reason}"
                retryable = status in (408, 409, 429) or status >= 500
            case APIConnectionError():
                cause = error.__cause__ or reason
                text = f"The endpoint of model {model!r} could not be reached ({cause}). Check base_url= and network."
            case _:
                text = f"Model {model!r} gave no usable reply. {type(error).__name__}: {reason}"
        return ModelError(text, retryable=retryable)
