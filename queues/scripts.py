"""Loads the Lua scripts, one per state change; knows neither keys nor what a script means."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

Argument: TypeAlias = str | int | float
Reply: TypeAlias = str | int | list[str]


@dataclass(frozen=True)
class ScriptCall:
    """A script with its keys and arguments, to be run later, or by another process."""

    name: str
    keys: Sequence[str]
    arguments: Sequence[Argument]


_SHARED = ("prelude", "handing_out", "people")


@dataclass(frozen=True)
class _Source:
    text: str
    digest: str  # by which the server knows it


@cache
def _source(name: str) -> _Source:
    folder = files("queues") / "lua"
    text = "\n".join(folder.joinpath(f"{part}.lua").read_text() for part in (*_SHARED, name))
    return _Source(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Scripts:
    """Runs `lua/<name>.lua` atomically on the server; sends the source only where the server lacks it."""

    def __init__(self, connection: redis.Redis) -> None:
        self._connection = connection

    def run(self, name: str, keys: list[str], arguments: list[Argument]) -> Reply:
        """The script's reply; a server that restarted without its script cache is served all the same."""
        source = _source(name)
        try:
            reply: Reply = self._connection.evalsha(source.digest, len(keys), *keys, *arguments)
        except NoScriptError:
            self._connection.script_load(source.text)
            reply = self._connection.evalsha(source.digest, len(keys), *keys, *arguments)
        return reply

    def word(self, name: str, keys: list[str], arguments: list[Argument]) -> str:
        """The reply of a script that answers with one word."""
        reply = self.run(name, keys, arguments)
        if not isinstance(reply, str):
            raise TypeError(f"script {name} answered {reply!r}, not a word")
        return reply

    def words(self, calls: Sequence[ScriptCall]) -> list[Reply | Exception]:
        """The replies of several scripts, asked for at one go, each in a step of its own; a failed one is its error."""
        replies = self._replies(calls)
        unknown = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            for name in {calls[place].name for place in unknown}:
                self._connection.script_load(_source(name).text)
            for place, reply in zip(unknown, self._replies([calls[place] for place in unknown]), strict=True):
                replies[place] = reply
        return replies

    def _replies(self, calls: Sequence[ScriptCall]) -> list[Reply | Exception]:
        with self._connection.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(_source(call.name).digest, len(call.keys), *call.keys, *call.arguments)
            replies: list[Reply | Exception] = pipeline.execute(raise_on_error=False)
        return replies

    def row(self, name: str, keys: list[str], arguments: list[Argument]) -> list[str]:
        """The reply of a script that answers with a list."""
        reply = self.run(name, keys, arguments)
        if not isinstance(reply, list):
            raise TypeError(f"script {name} answered {reply!r}, not a list")
        return reply


async def areplies(connection: redis.asyncio.Redis, calls: Sequence[ScriptCall]) -> list[Reply | Exception]:
    """As `Scripts.words`, for asyncio."""

    async def ask(asked: Sequence[ScriptCall]) -> list[Reply | Exception]:
        async with connection.pipeline(transaction=False) as pipeline:
            for call in asked:
                pipeline.evalsha(_source(call.name).digest, len(call.keys), *call.keys, *call.arguments)
            found: list[Reply | Exception] = await pipeline.execute(raise_on_error=False)
        return found

    replies = await ask(calls) if calls else []
    unknown = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        for name in {calls[place].name for place in unknown}:
            await connection.script_load(_source(name).text)
        for place, reply in zip(unknown, await ask([calls[place] for place in unknown]), strict=True):
            replies[place] = reply
    return replies


def script_names() -> dict[str, str]:
    """The name of each script by the digest that the server knows it by, for whoever watches that server."""
    stems = (entry.name.removesuffix(".lua") for entry in (files("queues") / "lua").iterdir())
    return {_source(stem).digest: stem for stem in stems if stem not in _SHARED}
