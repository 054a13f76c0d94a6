"""What a submit costs on top of the bare EVALSHA of the same payload: one thread, several on one client, asyncio.

The embedded server has each write on its disk before it answers; beside it the same with a disk write every second.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from agent_core.run import RunSnapshot
from queues.client import AsyncClient, Client
from queues.runs import Runs
from queues.scripts import Scripts, _source
from queues.timing import Timing
from tests.support.valkey import configured
from workers.bench.pairs import Comparison, compare

pytestmark = [pytest.mark.benchmark, pytest.mark.redis]

BATCH, PAIRS, THREADS = 250, 9, 8
INPUT = "What files are there, and which of them changed since yesterday? " * 3


class Recorder(Scripts):
    """Takes down what submits would send."""

    def __init__(self, connection: redis.Redis) -> None:
        super().__init__(connection)
        self.taken: list[list[Any]] = []

    def run(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        self.taken.append([_source(name).digest, len(keys), *keys, *arguments])
        return ["created"]


class Bare:
    """Sends payloads of submits that were made ready before, each of a run of its own, and nothing else."""

    def __init__(self, connection: redis.Redis) -> None:
        runs, recorder = Runs(connection, timing=Timing()), Recorder(connection)
        runs._scripts = recorder
        for _ in range(BATCH * (PAIRS + 1)):
            runs.create(RunSnapshot.create(agent_name="ops", input=INPUT), agent="ops", lane="normal")
        connection.script_load(_source("create_run").text)
        self._connection = connection
        self._payloads = iter(recorder.taken)

    def one(self, _: int = 0) -> None:
        self._connection.evalsha(*next(self._payloads))

    def one_by_one(self) -> None:
        for _ in range(BATCH):
            self.one()

    def at_one_go(self) -> None:
        with self._connection.pipeline(transaction=False) as pipeline:
            for _ in range(BATCH):
                pipeline.evalsha(*next(self._payloads))
            pipeline.execute()


@pytest.fixture(params=["always", "everysec"])
def connection(request: pytest.FixtureRequest, redis_connection: redis.Redis) -> Iterator[redis.Redis]:
    with configured(redis_connection, "appendfsync", request.param):
        yield redis_connection


def told(comparison: Comparison, what: str, connection: redis.Redis, capsys: pytest.CaptureFixture[str]) -> None:
    disk = connection.config_get("appendfsync")["appendfsync"]
    rate = BATCH / statistics.median(cost.wall_seconds for cost in comparison.work)
    with capsys.disabled():
        print(comparison.table(f"{BATCH} submits, {what}, appendfsync {disk}"))
        print(f"  work  {rate:.0f} submits a second")


def measure(
    floor: Callable[[], object],
    work: Callable[[], object],
    what: str,
    connection: redis.Redis,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told(compare(floor, work, pairs=PAIRS), what, connection, capsys)


def test_one_thread(connection: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(redis_url) as client:

        def work() -> None:
            for _ in range(BATCH):
                client.submit("ops", INPUT)

        measure(Bare(connection).one_by_one, work, "one thread, over one EVALSHA after the other", connection, capsys)
        measure(Bare(connection).at_one_go, work, "one thread, over all EVALSHA at one go", connection, capsys)


def test_threads(connection: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    bare = Bare(connection)
    with Client(redis_url) as client, ThreadPoolExecutor(THREADS) as threads:
        measure(
            lambda: list(threads.map(bare.one, range(BATCH))),
            lambda: list(threads.map(lambda _: client.submit("ops", INPUT), range(BATCH))),
            f"{THREADS} threads, over EVALSHA in as many threads",
            connection,
            capsys,
        )


def test_asyncio(connection: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    bare = Bare(connection)
    with asyncio.Runner() as runner, ThreadPoolExecutor(THREADS) as threads:

        async def opened() -> AsyncClient:
            return AsyncClient(redis_url)

        async def gathered() -> None:
            await asyncio.gather(*(client.submit("ops", INPUT) for _ in range(BATCH)))

        client = runner.run(opened())
        measure(
            lambda: list(threads.map(bare.one, range(BATCH))),
            lambda: runner.run(gathered()),
            f"asyncio.gather, over EVALSHA in {THREADS} threads",
            connection,
            capsys,
        )
        runner.run(client.aclose())
