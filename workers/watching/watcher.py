"""What Flower hears and shows: events of all workers, kept in a file; a delivery's end counts as we tell it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from celery.events import EventReceiver
from celery.events.state import TASK_EVENT_TO_STATE, Task
from flower.events import Events, EventsState

from workers.watching.history import HistoryFile, counters_of, record_of, restore
from workers.watching.words import Kind

_log = logging.getLogger("errandry")

# What ended a delivery that did something. The last one of a task counts, whatever stood there before: by Celery's own
# rule a failure would stay one, but a run that ended in ERROR may be retried, and pause.
_ENDS = frozenset({Kind.SUCCEEDED, Kind.FAILED, Kind.PAUSED, Kind.CANCELLED})
_NOTE_CHARACTERS = 300
_LONGEST_PAUSE_SECONDS = 10


class _Receiver(EventReceiver):  # type: ignore[misc]
    """Says when it hears: the subscription is sent with the first wait for events, and stands once that is over."""

    on_heard: Callable[[], None]
    _waits = 0

    def on_iteration(self) -> None:
        self._waits += 1
        if self._waits == 2:
            self.on_heard()


class Watcher(Events):  # type: ignore[misc]
    """Flower's ears and memory. `on_listening` is called once it hears everything."""

    def __init__(
        self,
        history: HistoryFile,
        *,
        on_listening: Callable[[], None],
        max_workers_in_memory: int,
        max_tasks_in_memory: int,
        **how: Any,
    ) -> None:
        self._history = history
        self._changed: dict[str, None] = {}
        self._on_listening: Callable[[], None] | None = on_listening
        self._most = {"max_workers_in_memory": max_workers_in_memory, "max_tasks_in_memory": max_tasks_in_memory}
        super().__init__(persistent=True, db=str(history.file), **self._most, **how)

    def load_state(self) -> EventsState:
        """What was saved last, or nothing yet; the file is as short as it can be afterwards."""
        self.state = EventsState(**self._most)
        restore(self.state, self._history.read())
        self._rewrite()
        return self.state

    def save_state(self) -> None:
        """Write down what was heard since the last time."""
        tasks = self.state.tasks.data
        try:
            if self._history.lines > 2 * len(tasks) + self._most["max_tasks_in_memory"]:
                self._rewrite()
            elif self._changed:
                changed = (record_of(tasks[uuid]) for uuid in self._changed if uuid in tasks)
                self._history.append([*changed, counters_of(self.state)])
        except OSError as error:
            _log.warning("Flower's history is not saved to %s: %s", self._history.file, error)
            return
        self._changed.clear()

    def _rewrite(self) -> None:
        records = [record_of(task) for _, task in self.state.itertasks()]
        self._history.rewrite([*records, counters_of(self.state)])

    def run(self) -> None:
        """Listen for as long as the process lives, also to a broker that comes back."""
        pause_seconds = 1
        while True:
            try:
                with self.capp.connection() as connection:
                    receiver = _Receiver(connection, handlers={"*": self.on_event}, app=self.capp)
                    receiver.on_heard = self._listens
                    pause_seconds = 1
                    receiver.capture(limit=None, timeout=None, wakeup=True)
            except Exception as error:
                _log.warning("Flower hears nothing (%s); it tries again in %s s", error, pause_seconds)
                time.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _listens(self) -> None:
        # Workers that nobody listened to tell of their tasks from now on, and not only once they ask again.
        self.capp.control.enable_events()
        if self._on_listening is not None:
            self.io_loop.add_callback(self._on_listening)
            self._on_listening = None

    def presented(self, task: Task) -> Task:
        """A copy of a task as a page shows it: the ids and links of its root and parent are enough."""
        original = self.state.tasks.data.get(task.uuid)
        if original is not None:
            # A copy does not have them.
            task.children = sorted(original.children, key=lambda child: (child.received or 0, child.uuid))
        task.root = task.parent = None
        return task

    def on_event(self, event: dict[str, Any]) -> None:
        """Take an event of any worker in, in Flower's own thread."""
        self.io_loop.add_callback(self._take, event)

    def _take(self, event: dict[str, Any]) -> None:
        state, kind = self.state, event["type"]
        state.event(event)
        if not kind.startswith("task-"):
            return
        uuid = event["uuid"]
        task = state.tasks.data[uuid]
        self._changed[uuid] = None
        if kind in _ENDS:
            name = kind.removeprefix("task-")
            task.state = TASK_EVENT_TO_STATE.get(name, name.upper())
            # Flower does so after its own two kinds of ends: nothing waits to be executed any more.
            state.metrics.prefetch_time.labels(event["hostname"], task.name or "").set(0)
        elif task.result is None and "note" in event:
            task.result = str(event["note"])[:_NOTE_CHARACTERS]
        state.search_engine.upsert(task)
