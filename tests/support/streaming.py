"""A run whose model says what a test has it say, piece by piece, carried on as on the queue but without a worker."""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any

import redis

from agent_core.agent import Agent
from agent_core.events import RunEvent
from agent_core.models.base import ModelReply, ModelRequest
from agent_core.run import RunSnapshot
from agent_core.tools.function import Function
from queues import keys
from queues.claims import ClaimedRun, Claims
from queues.journal import QueueJournal
from queues.leases import LeaseKeeper
from queues.parts import Routing
from queues.run_store import RedisRunStore
from queues.stored_events import read_event
from queues.timing import Timing

BOUND = 30.0
Said = str | ModelReply | Exception


class SpokenModel:
    """Streams what it is given; `closed` is set once a stream of it was given up in the middle."""

    id = "spoken"

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self.asked = 0
        self.closed = threading.Event()

    def say(self, *pieces: Said) -> None:
        """Have this said next; a reply or an error ends a stream."""
        for piece in pieces:
            self._said.put(piece)

    def reply(self, request: ModelRequest) -> ModelReply:
        raise AssertionError("on the queue replies are streamed")

    async def areply(self, request: ModelRequest) -> ModelReply:
        raise AssertionError("on the queue replies are streamed")

    def stream(self, request: ModelRequest) -> Generator[str | ModelReply, None, None]:
        self.asked += 1
        try:
            while not isinstance(said := self._said.get(timeout=BOUND), ModelReply):
                if isinstance(said, Exception):
                    raise said
                yield said
            yield said
        except GeneratorExit:
            self.closed.set()
            raise

    def astream(self, request: ModelRequest) -> AsyncGenerator[str | ModelReply, None]:
        raise AssertionError("a worker drives runs in threads")


class Spoken:
    """One claimed run of an agent with such a model, which a thread carries on."""

    def __init__(
        self, connection: redis.Redis, run: ClaimedRun, *, tools: tuple[Function, ...] = (), retries: int = 0
    ) -> None:
        self.model = SpokenModel()
        self.error: Exception | None = None
        timing = Timing()
        claims = Claims(connection, timing=timing)
        self._run = run
        self._agent = Agent(name="ops", model=self.model, tools=tools, retries=retries, retry_delay_seconds=0.01)
        self._keeper = LeaseKeeper(connection, heartbeat_seconds=0.05)
        self._store = RedisRunStore.on(connection, timing=timing)
        self._claims = claims
        self._thread = threading.Thread(target=self._carry_on, daemon=True)
        self._thread.start()

    def done(self) -> RunSnapshot:
        """The run as it was saved last, once nobody carries it on any more."""
        self._thread.join(BOUND)
        assert not self._thread.is_alive()
        return self.journal.run.snapshot

    def leave(self) -> None:
        """Do what a worker does that is told to go."""
        self._keeper.hand_back()

    def _carry_on(self) -> None:
        run, claims = self._run, self._claims
        with self._keeper.holding(claims.renewal(run), give_back=lambda: claims.release(run)) as lease:
            self.journal = QueueJournal(
                claims,
                run,
                store=self._store,
                functions=self._agent.functions(),
                routing=Routing(pools={}, queue_seconds={}),
                lease=lease,
                task_id=run.run_id,
            )
            try:
                for event in self._agent.advance(run.snapshot, answers=run.answers, journal=self.journal, stream=True):
                    self.journal.tell(event)
            except Exception as error:
                self.error = error
        self._keeper.close()


def told(connection: redis.Redis, run_id: str) -> list[RunEvent]:
    """The run's own stream."""
    run = RunSnapshot.create(agent_name="ops", input="", run_id=run_id).output
    entries: Any = connection.xrange(keys.events(run_id))
    return [read_event(run, entry_id, fields["event"]) for entry_id, fields in entries]


def text_of(connection: redis.Redis, run_id: str) -> list[str]:
    """The pieces of text in it."""
    return [str(event.content) for event in told(connection, run_id) if event.event == "RunContent"]
