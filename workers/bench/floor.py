"""The floor: what the same work takes without us. A bare Celery chain, the bare SDK, the sandbox called directly.

Never stores anything that outlives a sample.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import redis
from celery import Celery
from openai.types.chat import ChatCompletion

from agent_core.tools.execution import CallOutcome
from workers.bench.errors import BenchError
from workers.bench.floor_worker import HOPS, URL_VARIABLE, build
from workers.bench.model import TOOL
from workers.bench.project.errands.tools import stamp
from workers.celery_worker import arguments
from workers.child import ChildCommand
from workers.processes import ProcessGroup
from workers.sandbox.base import Sandbox, SandboxCall

_READY = re.compile(r" ready\.$")
_START_SECONDS = 60.0
_ANSWER_SECONDS = 60
_OFFER: Any = [
    {
        "type": "function",
        "function": {"name": TOOL, "description": stamp.description, "parameters": stamp.parameters},
    }
]


@dataclass(frozen=True)
class Chain:
    """Three no-op tasks, one after the other, over three queues and workers."""

    app: Celery
    connection: redis.Redis
    pids: tuple[int, ...]

    def run(self) -> list[int]:
        """Send one through all three; returns when each of them began, in nanoseconds of the clock."""
        reply_to = f"floor:{uuid.uuid4().hex}"
        self._send(reply_to)
        return self._answer(reply_to)

    def run_many(self, number: int, *, in_flight: int) -> None:
        """Send so many through, always as many at once as may be in flight."""
        reply_to = f"floor:{uuid.uuid4().hex}"
        for place in range(number + in_flight):
            if place >= in_flight:
                self._answer(reply_to)
            if place < number:
                self._send(reply_to)

    def _send(self, reply_to: str) -> None:
        self.app.tasks[HOPS[0]].apply_async((reply_to, []), queue=HOPS[0])

    def _answer(self, reply_to: str) -> list[int]:
        answer: Any = self.connection.blpop([reply_to], timeout=_ANSWER_SECONDS)
        if answer is None:
            raise BenchError(f"The bare Celery chain gave no answer within {_ANSWER_SECONDS} s.")
        stamps: list[int] = json.loads(answer[1])
        return stamps


@contextmanager
def open_chain(url: str, *, folder: Path, environment: Mapping[str, str]) -> Iterator[Chain]:
    """The chain with its three workers, ready; they end with the block."""
    commands = [
        ChildCommand(
            name=name,
            command=[sys.executable, "-P", "-m", "celery", "-A", "workers.bench.floor_worker",
                     *arguments(node=name, concurrency=4, loglevel="INFO"), "--queues", name],
            env={**environment, URL_VARIABLE: url, "PYTHONUNBUFFERED": "1"},
            cwd=folder,
            ready_line=_READY,
            ready_timeout_seconds=_START_SECONDS,
        )
        for name in HOPS
    ]  # fmt: skip
    with (
        ProcessGroup(on_line=lambda _name, _line: None, drain_seconds=5) as group,
        redis.Redis.from_url(url, socket_timeout=_ANSWER_SECONDS + 10) as connection,
    ):
        group.start(*commands)
        app = build(url)
        try:
            yield Chain(app, connection, tuple(group.pids().values()))
        finally:
            app.close()


class BareRequests:
    """The two requests of a run with one step of calls, by the bare SDK."""

    def __init__(self, base_url: str) -> None:
        self._client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)

    def run(self, prompt: str) -> str:
        """Ask, answer the calls, and ask again; returns the final text."""
        create = self._client.chat.completions.create
        messages: list[Any] = [{"role": "user", "content": prompt}]
        asked = create(model="bench", messages=messages, tools=_OFFER)
        done = create(model="bench", messages=[*messages, *_answered(asked)], tools=_OFFER)
        return done.choices[0].message.content or ""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _answered(asked: ChatCompletion) -> list[Any]:
    calls = [call for call in asked.choices[0].message.tool_calls or () if call.type == "function"]
    shown = [
        {"id": call.id, "type": "function", "function": {"name": TOOL, "arguments": call.function.arguments}}
        for call in calls
    ]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "done"} for call in calls]
    return [{"role": "assistant", "content": None, "tool_calls": shown}, *results]


class BareCalls:
    """Calls of the sandbox, directly in this process."""

    def __init__(self, sandbox: Sandbox, *, most: int) -> None:
        self._sandbox = sandbox
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="bare-call")

    def run(self, number: int) -> None:
        """Have so many executed side by side."""
        if number == 1:
            self._one(0)
            return
        list(self._threads.map(self._one, range(number)))

    def close(self) -> None:
        """End the threads and the sandbox."""
        self._threads.shutdown(cancel_futures=True)
        self._sandbox.close()

    def _one(self, number: int) -> None:
        call = SandboxCall(TOOL, {"asked_at": "0"}, idempotency_key=f"bench:1:{number}")
        outcome = self._sandbox.run(call, cancelled=threading.Event())
        if outcome.outcome is not CallOutcome.SUCCEEDED:
            raise BenchError(f"A bare call of the sandbox {outcome.outcome}: {outcome.content}")
