"""What it costs an agent worker to tell text as it streams, over taking each reply in one piece."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from agent_core.run import RunSnapshot, RunStatus
from queues.claims import ClaimedRun, Claims
from queues.journal import QueueJournal
from queues.leases import Lease
from queues.parts import Routing
from queues.run_store import RedisRunStore
from queues.runs import Runs
from queues.timing import Timing
from tests.benchmarks.served_model import served_model
from workers.bench.pairs import compare

pytestmark = pytest.mark.benchmark

TIMING = Timing()


class Worker:
    """Carries one run after the other on, as an agent worker does, its model a process of its own."""

    def __init__(self, connection: redis.Redis, base_url: str, words: int) -> None:
        # The scripted model says back which prompt it has no answer to, up to 200 characters of it.
        self._prompt = "x " * words
        self._agent = Agent(name="ops", model=OpenAIChat("m", base_url=base_url, api_key="none"))
        self._connection = connection
        self._claims = Claims(connection, timing=TIMING)
        self._runs = Runs(connection, timing=TIMING)

    def one_run(self, *, stream: bool) -> None:
        """From its claim to its end; submitting it is a part of both."""
        snapshot = RunSnapshot.create(agent_name="ops", input=self._prompt)
        run = self._claims.claim(self._runs.create(snapshot, agent="ops", lane="normal"), owner="worker")
        assert isinstance(run, ClaimedRun)
        journal = QueueJournal(
            self._claims,
            run,
            store=RedisRunStore.on(self._connection, timing=TIMING),
            functions={},
            routing=Routing(pools={}, queue_seconds={}),
            lease=Lease(self._claims.renewal(run), None),
            task_id=run.run_id,
        )
        for event in self._agent.advance(run.snapshot, answers={}, journal=journal, stream=stream):
            journal.tell(event)
        assert journal.run.snapshot.status is RunStatus.COMPLETED


@pytest.fixture
def base_url(tmp_path: Path) -> Iterator[str]:
    with served_model(tmp_path) as url:
        yield url


@pytest.mark.parametrize("words", [1, 100])
def test_replies(redis_connection: redis.Redis, base_url: str, words: int, capsys: pytest.CaptureFixture[str]) -> None:
    worker = Worker(redis_connection, base_url, words)
    comparison = compare(lambda: worker.one_run(stream=False), lambda: worker.one_run(stream=True), pairs=20, repeats=3)
    with capsys.disabled():
        print(comparison.table(f"a streamed reply over a whole one, {words} words"))
