"""How long Flower stands still for its history: while it saves what has changed, writes all anew, and reads it."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from flower.events import EventsState

from workers.watching.history import HistoryFile, record_of, restore

CHANGED = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, help="how many tasks the history holds")
    count = parser.parse_args().tasks
    state = EventsState(max_workers_in_memory=100, max_tasks_in_memory=count)
    for number in range(count):
        run = f"run_{number // 4:026d}"
        uuid = f"{run}:1:call_{number:024d}"
        whose = {"name": "tools.shell.run", "args": f"run={run} step=1 tool=run", "root_id": run, "parent_id": run}
        for kind, more in (
            ("task-received", {"kwargs": "{}", "retries": 0}),
            ("task-succeeded", {"result": "succeeded"}),
        ):
            state.event(
                {"type": kind, "uuid": uuid, "hostname": "shell@host", "timestamp": time.time(),
                 "local_received": time.time(), "clock": number, "pid": 1, **whose, **more}
            )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        history = HistoryFile(Path(folder) / "history")
        began = time.perf_counter()
        history.rewrite([record_of(task) for _, task in state.itertasks()])
        written = time.perf_counter()
        history.append([record_of(task) for _, task in list(state.itertasks())[:CHANGED]])
        appended = time.perf_counter()
        restore(EventsState(max_workers_in_memory=100, max_tasks_in_memory=count), history.read())
        read = time.perf_counter()
        size = history.file.stat().st_size
    print(
        f"{count} tasks: {CHANGED} changed ones saved in {appended - written:.3f} s; "
        f"all written in {written - began:.2f} s, read in {read - appended:.2f} s, {size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
