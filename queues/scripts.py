"""Loads the Lua scripts, one per state change; knows neither keys nor what a script means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import redis

Argument: TypeAlias = str | int | float
Reply: TypeAlias = str | int | list[str]


@dataclass(frozen=True)
class ScriptCall:
    """A script with its keys and arguments, to be run later, or by another process."""

    name: str
    keys: Sequence[str]
    arguments: Sequence[Argument]


@cache
def _source(name: str) -> str:
    folder = files("queues") / "lua"
    return folder.joinpath("prelude.lua").read_text() + folder.joinpath(f"{name}.lua").read_text()


class Scripts:
    """Runs `lua/<name>.lua` atomically on the server; sends the source only where the server lacks it."""

    def __init__(self, connection: redis.Redis) -> None:
        self._connection = connection

    def run(self, name: str, keys: list[str], arguments: list[Argument]) -> Reply:
        """The script's reply; a server that restarted without its script cache is served all the same."""
        script = self._connection.register_script(_source(name))
        reply: Reply = script(keys=keys, args=arguments)
        return reply

    def word(self, name: str, keys: list[str], arguments: list[Argument]) -> str:
        """The reply of a script that answers with one word."""
        reply = self.run(name, keys, arguments)
        if not isinstance(reply, str):
            raise TypeError(f"script {name} answered {reply!r}, not a word")
        return reply

    def words(self, calls: Sequence[ScriptCall]) -> list[Reply | Exception]:
        """The replies of several scripts, asked for at one go, each in a step of its own; a failed one is its error."""
        with self._connection.pipeline(transaction=False) as pipeline:
            for call in calls:
                script = self._connection.register_script(_source(call.name))
                script(keys=call.keys, args=call.arguments, client=pipeline)
            replies: list[Reply | Exception] = pipeline.execute(raise_on_error=False)
        return replies

    def row(self, name: str, keys: list[str], arguments: list[Argument]) -> list[str]:
        """The reply of a script that answers with a list."""
        reply = self.run(name, keys, arguments)
        if not isinstance(reply, list):
            raise TypeError(f"script {name} answered {reply!r}, not a list")
        return reply
