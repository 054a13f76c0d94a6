"""Agent and tool workers without Celery: a pump hands each message on as a policy says, once, never or thrice.

What the messages lead to is the product's own: its agent task, its executor, its sweep. Only the broker is ours.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel, call
from agent_core.tools import tool
from agent_core.tools.execution import CallOutcome
from queues.calls import CallAddress, Calls
from queues.claims import Claims
from queues.client import Client
from queues.connections import connect
from queues.leases import LeaseKeeper
from queues.parts import Routing
from queues.repairs import Repairs
from queues.run_store import RedisRunStore
from queues.timing import Timing
from queues.topology import agents_queues, pool_queues
from workers.agent_tasks import Advancer
from workers.agents import Project
from workers.execution import Executor
from workers.sandbox.base import Outcome, SandboxCall, SandboxLevel, ToolDescription
from workers.sweep import Sweep

TIMING = Timing(lease_seconds=5.0, repush_seconds=0.3)
POOLS = ("near", "far")
STEPS = 2

# What to do with a message that was seen `count` times before: how many copies of it are handed on.
Policy = Callable[[str, int], int]


@tool(external_execution=True, pool="near")
def fetch(word: str) -> str:
    """Fetch."""
    raise NotImplementedError


@tool(external_execution=True, pool="far")
def send(word: str) -> str:
    """Send."""
    raise NotImplementedError


@tool
def note(word: str) -> str:
    """Note."""
    return word.upper()


def _turn(step: int) -> list[Any]:
    return [call("fetch", word=f"a{step}"), call("send", word=f"b{step}"), call("note", word=f"c{step}"),
            call("fetch", word=f"d{step}")]  # fmt: skip


class ThreadSandbox:
    """Executes a call within its thread, and counts: what is tested here happens before and after it."""

    level = SandboxLevel.NONE
    gaps = ()

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def describe(self) -> list[ToolDescription]:
        return []

    def run(self, call: SandboxCall, *, cancelled: threading.Event) -> Outcome:
        with self._lock:
            self.executed[call.idempotency_key] += 1
        return Outcome(
            CallOutcome.SUCCEEDED, str(call.tool_args["word"]).upper(), 0, 0.0, 0.0, None, False, SandboxLevel.NONE
        )

    def close(self) -> None:
        return


class Pump:
    """Takes every message from the broker's lists and hands it on to threads, as often as the policy says."""

    def __init__(self, redis_url: str, policy: Policy) -> None:
        self.client = Client(redis_url, timing=TIMING)
        self.sandbox = ThreadSandbox()
        self.seen: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self._policy = policy
        self._redis = connect(redis_url)
        self._leases = LeaseKeeper(self._redis, heartbeat_seconds=TIMING.heartbeat_seconds)
        self._advancer = self._agent_worker()
        self._executor = Executor(
            calls=Calls(self._redis, timing=TIMING, worker="tools@pump"),
            leases=self._leases,
            sandbox=self.sandbox,
            worker="tools@pump",
        )
        self._stop = threading.Event()

    def _agent_worker(self) -> Advancer:
        model = ScriptedModel([*(_turn(step) for step in range(STEPS)), "done"])
        agent = Agent(name="pumped", model=model, tools=[fetch, send, note])
        pools = {"fetch": "near", "send": "far"}
        return Advancer(
            project=Project(agents={"pumped": agent}, routing=Routing(pools=pools, queue_seconds={})),
            claims=Claims(self._redis, timing=TIMING),
            leases=self._leases,
            store=RedisRunStore.on(self._redis, timing=TIMING),
            worker="agents@pump",
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Pump and sweep for the length of a block."""
        sweep = Sweep(Repairs(self._redis, timing=TIMING), pools=POOLS, period_seconds=0.05)
        sweep.start()
        pump = threading.Thread(target=self._work, name="pump", daemon=True)
        pump.start()
        try:
            yield
        finally:
            self._stop.set()
            pump.join(30)
            sweep.close()
            self._leases.close()
            self.client.close()

    def _work(self) -> None:
        queues = [*agents_queues(), *(queue for pool in POOLS for queue in pool_queues(pool))]
        with ThreadPoolExecutor(8) as threads:
            while not self._stop.wait(0.002):
                for queue in queues:
                    while message := self._redis.rpop(queue):
                        self._hand_on(threads, queue, json.loads(str(message)))

    def _hand_on(self, threads: ThreadPoolExecutor, queue: str, message: dict[str, Any]) -> None:
        task_id = message["headers"]["id"]
        copies = self._policy(task_id, self.seen[task_id])
        self.seen[task_id] += 1
        for _ in range(copies):
            threads.submit(self._carry_out, queue, message)

    def _carry_out(self, queue: str, message: dict[str, Any]) -> None:
        arguments = json.loads(base64.b64decode(message["body"]))[0]
        try:
            if queue in agents_queues():
                word = self._advancer.advance(*arguments, task_id=message["headers"]["id"])
            else:
                _, pool, tool_name = message["headers"]["task"].split(".")
                run_id, step, call_id = arguments
                word = self._executor.execute(CallAddress(pool, run_id, step, call_id, tool_name))
            self.words[word.partition(" ")[0]] += 1
        except BaseException as error:
            self.errors.append(error)
