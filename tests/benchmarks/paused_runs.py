"""What a paused run costs: bytes in Redis, and nothing while it waits. Prints figures, asserts none.

python tests/benchmarks/paused_runs.py --runs 20000
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agent_core.agent import Agent  # noqa: E402
from agent_core.models.scripted import ScriptedModel, call  # noqa: E402
from agent_core.run import RunSnapshot  # noqa: E402
from agent_core.tools import tool  # noqa: E402
from queues.claims import ClaimedRun, Claims  # noqa: E402
from queues.connections import connect  # noqa: E402
from queues.embedded import EmbeddedServer  # noqa: E402
from queues.journal import QueueJournal  # noqa: E402
from queues.leases import Lease  # noqa: E402
from queues.parts import Routing  # noqa: E402
from queues.repairs import Repairs  # noqa: E402
from queues.run_store import RedisRunStore  # noqa: E402
from queues.runs import Runs  # noqa: E402
from queues.timing import Timing  # noqa: E402
from workers.sweep import Sweep  # noqa: E402


@tool(external_execution=True)
def look_up(key: str) -> str:
    """Look something up."""
    raise NotImplementedError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder) / "server") as server:
        connection = connect(server.url)
        timing = Timing()
        floor = Runs(connection, timing=timing), Claims(connection, timing=timing)
        store = RedisRunStore.on(connection, timing=timing)
        agent = Agent(name="ops", model=ScriptedModel([call("look_up", key="colour"), "green"]), tools=[look_up])
        before = connection.info("memory")["used_memory"]
        started = time.perf_counter()
        for _ in range(runs):
            pause_one(agent, *floor, store)
        seconds = time.perf_counter() - started
        connection.delete("agents", "tools.shell")  # what workers would have taken from the queues
        used = (connection.info("memory")["used_memory"] - before) / runs
        text = messages_bytes(floor[0])
        sweep = Sweep(Repairs(connection, timing=timing), pools=["shell"])
        cpu, wall = time.process_time(), time.perf_counter()
        found = [sweep.once() for _ in range(100)]
        print(f"paused runs                      {runs}")
        print(f"bytes of Redis a paused run      {used:.0f}  (of these its messages' own JSON: {text})")
        print(f"pausing                          {runs / seconds:.0f} runs/s from one process")
        print(f"an idle pass of the sweep        {(time.process_time() - cpu) * 10:.2f} ms CPU,"
              f" {(time.perf_counter() - wall) * 10:.2f} ms wall; it found {found[-1]}")  # fmt: skip
        connection.close()


def pause_one(agent: Agent, runs: Runs, claims: Claims, store: RedisRunStore) -> None:
    run_id = runs.create(RunSnapshot.create(agent_name="ops", input="Which colour?"), agent="ops", lane="normal")
    run = claims.claim(run_id, owner="benchmark")
    assert isinstance(run, ClaimedRun)
    journal = QueueJournal(
        claims,
        run,
        store=store,
        functions=agent.functions(),
        routing=Routing(pools={"look_up": "shell"}, queue_seconds={}),
        lease=Lease(lambda: "held"),
        task_id=run_id,
    )
    for event in agent.advance(run.snapshot, answers=run.answers, journal=journal):
        journal.tell(event)


def messages_bytes(runs: Runs) -> int:
    (stored,) = runs.latest(limit=1)
    return len(json.dumps([message.model_dump(mode="json") for message in stored.snapshot.output.messages]))


if __name__ == "__main__":
    main()
