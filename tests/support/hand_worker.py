"""A pool's worker by hand: takes messages from the queue as Celery would; claims, begins and settles their calls."""

from __future__ import annotations

import base64
import json
from typing import cast

import redis

from agent_core.tools.execution import CallResult
from queues.calls import CallAddress, Calls, ClaimedCall
from queues.topology import pool_queue
from tests.support.queue_floor import TIMING

_TRIES = 5


class HandWorker:
    """Serves one pool, a call at a time."""

    def __init__(self, connection: redis.Redis, pool: str = "shell", calls: Calls | None = None) -> None:
        self.connection = connection
        self.pool = pool
        self.calls = calls or Calls(connection, timing=TIMING, worker=f"{pool}@hand")

    def address(self) -> CallAddress:
        """Where the next call lies; its message is taken, and waited for if there is none."""
        taken: tuple[str, str] | None = None
        for _ in range(_TRIES):
            # Shorter than the connection waits for an answer.
            taken = taken or cast(tuple[str, str] | None, self.connection.brpop([pool_queue(self.pool)], timeout=8))
        assert taken is not None, f"no message came for pool {self.pool}"
        message = json.loads(taken[1])
        (run_id, step, call_id), *_ = json.loads(base64.b64decode(message["body"]))
        tool_name = message["headers"]["task"].removeprefix(f"tools.{self.pool}.")
        return CallAddress(self.pool, run_id, step, call_id, tool_name)

    def begun(self) -> ClaimedCall:
        """The next call, claimed and begun."""
        call = self.calls.claim(self.address())
        assert isinstance(call, ClaimedCall), call
        begun = self.calls.begin(call, sandbox_level="ns")
        assert isinstance(begun, ClaimedCall), begun
        return begun

    def answer(self, result: CallResult) -> tuple[ClaimedCall, str]:
        """The next call, executed and settled, and what the settling script said."""
        call = self.begun()
        return call, self.calls.settle(call, result)
