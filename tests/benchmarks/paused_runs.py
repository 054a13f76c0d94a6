"""What paused runs cost: bytes in Redis, and nothing while they wait. Prints figures, asserts none.

python tests/benchmarks/paused_runs.py                # the bytes, in some seconds
python tests/benchmarks/paused_runs.py --runs 20000 --watch-seconds 20

With --watch-seconds an agent worker and the tool workers of two pools are started twice, before there is any run and
with all of them paused, and their CPU time is compared (Linux only). One run is answered at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import redis

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from queues.connections import connect  # noqa: E402
from queues.embedded import EmbeddedServer  # noqa: E402
from queues.repairs import Repairs  # noqa: E402
from queues.timing import Timing  # noqa: E402
from tests.support.walking import Walk, walking  # noqa: E402
from workers.bench.pausing import Pausing, used_bytes  # noqa: E402
from workers.bench.processes import tree_cpu_seconds  # noqa: E402
from workers.sweep import Sweep  # noqa: E402


@dataclass(frozen=True)
class Spent:
    """CPU seconds of each process and its children, and commands of the server, in the time of a look."""

    cpu: dict[str, float]
    commands: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--watch-seconds", type=float, default=0, help="Also start workers and watch them so long.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder) / "server") as server:
        connection = connect(server.url)
        project = Path(folder) / "project"
        project.mkdir()
        if given.watch_seconds:
            with walking(project, server.url, lease_seconds=10) as walk:
                before = watch(walk, connection, given.watch_seconds)
        Pausing(connection).pause_one(pool="shell")  # what the server needs once
        weigh(connection, given.runs, pool="shell")
        connection.flushall()
        run_ids = weigh(connection, given.runs, pool=None)
        idle_sweep(connection)
        if given.watch_seconds:
            with walking(project, server.url, lease_seconds=10) as walk:
                compare(before, watch(walk, connection, given.watch_seconds), given)
                answer_one(walk, run_ids[0])
        connection.close()


def weigh(connection: redis.Redis, number: int, *, pool: str | None) -> list[str]:
    """Pause runs, and say how many bytes each takes. What workers would take from the queues is taken out."""
    pausing, before, started = Pausing(connection), used_bytes(connection), time.perf_counter()
    run_ids = [pausing.pause_one(pool=pool) for _ in range(number)]
    seconds = time.perf_counter() - started
    connection.delete("agents", "tools.shell")
    used = (used_bytes(connection) - before) / number
    waits = f"pool {pool}" if pool else "a person"
    text = pausing.text_bytes(run_ids[0])
    print(f"paused for {waits + ':':11} {number} runs of {used:.0f} bytes each, {text} of them what its messages say; "
          f"{number / seconds:.0f} runs/s from one process", flush=True)  # fmt: skip
    return run_ids


def idle_sweep(connection: redis.Redis) -> None:
    """What one look of an agent worker costs when nothing is due."""
    sweep = Sweep(Repairs(connection, timing=Timing(repush_seconds=3600)), pools=["none"])
    cpu, wall = time.process_time(), time.perf_counter()
    found = [sweep.once() for _ in range(100)][-1]
    spent = [(time.process_time() - cpu) * 10, (time.perf_counter() - wall) * 10]
    print(f"an idle pass of the sweep: {spent[0]:.2f} ms CPU, {spent[1]:.2f} ms wall; it found {found}")


def watch(walk: Walk, connection: redis.Redis, seconds: float) -> Spent:
    """What the workers and the server spend in the given time, once their start is over."""
    time.sleep(5)
    at_first = spent_so_far(walk, connection)
    time.sleep(seconds)
    later = spent_so_far(walk, connection)
    cpu = {name: later.cpu[name] - at_first.cpu[name] for name in at_first.cpu}
    return Spent(cpu, later.commands - at_first.commands)


def spent_so_far(walk: Walk, connection: redis.Redis) -> Spent:
    server = connection.info()
    cpu = {name: tree_cpu_seconds(pid) for name, pid in walk.processes.pids().items()}
    cpu["the server"] = server["used_cpu_user"] + server["used_cpu_sys"]
    return Spent(cpu, int(server["total_commands_processed"]))


def compare(before: Spent, after: Spent, given: argparse.Namespace) -> None:
    print(f"in {given.watch_seconds:g} s                 no runs   {given.runs} paused runs")
    for name in before.cpu:
        print(f"CPU of {name:20} {before.cpu[name]:8.2f} s {after.cpu[name]:8.2f} s")
    print(f"commands of the server      {before.commands:8}   {after.commands:8}")


def answer_one(walk: Walk, run_id: str) -> None:
    """The workers are really there: one of the runs goes on."""
    (asked,) = walk.client.pending(run_id)
    started = time.perf_counter()
    walk.client.settle(run_id, asked.tool_call_id, result="green")
    output = walk.client.run(run_id).wait(timeout=60)
    seconds = time.perf_counter() - started
    print(f"one of them, answered: {output.status} after {seconds:.2f} s, with the first model call of a fresh worker")


if __name__ == "__main__":
    main()
