"""Runs that pause: made by a real agent without its worker, and what they take of a server's memory."""

from __future__ import annotations

import time

import redis

from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel, call
from agent_core.run import RunSnapshot, RunStatus
from agent_core.tools import tool
from queues.claims import ClaimedRun, Claims
from queues.journal import QueueJournal
from queues.leases import Lease
from queues.parts import Routing
from queues.run_store import RedisRunStore
from queues.runs import Runs
from queues.timing import Timing
from queues.topology import Lane
from workers.bench.errors import BenchError

_FREED_SECONDS = 60.0
_PAUSE_SECONDS = 0.01


@tool(external_execution=True)
def ask_colleague(question: str) -> str:
    """Ask a colleague, who answers by hand."""
    raise NotImplementedError


class Pausing:
    """One agent whose runs pause so many times, each time for a pool or for a person."""

    def __init__(self, connection: redis.Redis, *, timing: Timing | None = None, pauses: int = 1) -> None:
        timing = timing or Timing()
        model = ScriptedModel([*[call("ask_colleague", question="Which colour?")] * pauses, "green"])
        self._agent = Agent(name="careful", model=model, tools=[ask_colleague])
        self.runs = Runs(connection, timing=timing)
        self._claims = Claims(connection, timing=timing)
        self._store = RedisRunStore.on(connection, timing=timing)

    def pause_one(self, *, pool: str | None, lane: Lane = "normal") -> str:
        """A new run, which waits now for the pool, or for a person. BenchError if it does not."""
        snapshot = RunSnapshot.create(agent_name="careful", input="Ask which colour it is")
        run_id = self.runs.create(snapshot, agent="careful", lane=lane)
        status = self.carry_on(run_id, pool=pool).status
        if status is not RunStatus.PAUSED:
            raise BenchError(f"A run that should pause is {status}.")
        return run_id

    def carry_on(self, run_id: str, *, pool: str | None = None) -> RunSnapshot:
        """The run after its next stretch."""
        run = self._claims.claim(run_id, owner="pausing")
        if not isinstance(run, ClaimedRun):
            raise BenchError(f"A run that should go on is {run}.")
        journal = QueueJournal(
            self._claims,
            run,
            store=self._store,
            functions=self._agent.functions(),
            routing=Routing(pools={"ask_colleague": pool} if pool else {}, queue_seconds={}),
            lease=Lease(self._claims.renewal(run), None),
            task_id=run_id,
        )
        for event in self._agent.advance(run.snapshot, answers=run.answers, journal=journal):
            journal.tell(event)
        return journal.run.snapshot

    def text_bytes(self, run_id: str) -> int:
        """What the messages of a run say, without anything of ours around it."""
        messages = self.runs.load(run_id).snapshot.output.messages
        calls = [asked.name + asked.arguments for message in messages for asked in message.tool_calls]
        return sum(len(text.encode()) for text in [*calls, *(message.content or "" for message in messages)])


def used_bytes(connection: redis.Redis) -> int:
    """The server's memory, but for its clients and for its Lua, which holds garbage of the calls just made.

    What was deleted is given back in the background; that is waited for.
    """
    connection.script_flush("SYNC")
    deadline = time.monotonic() + _FREED_SECONDS
    while connection.info("memory")["lazyfree_pending_objects"]:
        if time.monotonic() > deadline:
            raise BenchError(f"The server has not freed what was deleted within {_FREED_SECONDS:g} s.")
        time.sleep(_PAUSE_SECONDS)
    told = connection.info("memory")
    return int(told["used_memory"]) - int(told["mem_clients_normal"]) - int(told["mem_aof_buffer"])
