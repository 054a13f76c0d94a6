"""Follows all runs of the demo at once and hands each event to the main thread; decides nothing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

from agent_core.events import RunEvent
from queues.client import RunHandle

_Told = tuple[int, RunEvent | Exception | None]


def events_of(runs: Sequence[RunHandle], *, timeout_seconds: float) -> Iterator[tuple[int, RunEvent]]:
    """Events of all runs as they happen, each with its run's number (from 1 on), until all have ended.

    A run that has not ended in time simply stops telling. What goes wrong while reading is raised here.
    """
    told: queue.SimpleQueue[_Told] = queue.SimpleQueue()
    for number, run in enumerate(runs, start=1):
        threading.Thread(
            target=_follow, args=(number, run, timeout_seconds, told), name=f"follow-{number}", daemon=True
        ).start()
    following = len(runs)
    while following:
        number, happened = told.get()
        if isinstance(happened, Exception):
            raise happened
        if happened is None:
            following -= 1
        else:
            yield number, happened


def _follow(number: int, run: RunHandle, timeout_seconds: float, told: queue.SimpleQueue[_Told]) -> None:
    try:
        for event in run.events(timeout=timeout_seconds):
            told.put((number, event))
    except Exception as error:
        # Raised where it can be shown.
        told.put((number, error))
    else:
        told.put((number, None))
