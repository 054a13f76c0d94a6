"""Events of workers and their tasks, for Celery's monitors: those of tasks are told only while somebody listens.

No decision rests on them. Heartbeats are always told; they are few.
"""

from __future__ import annotations

import time
from typing import Any

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher
from celery.worker.control import Panel

_ASKED_AGAIN_SECONDS = 1.0


class Dispatcher(EventDispatcher):  # type: ignore[misc]
    """Learns from each event of a task how many heard it. While none did, one a second is told, to ask again.

    To render and publish them all costs a worker a good part of what a short task costs.
    """

    _heard_by: int | None = None
    _asked_at = 0.0

    def send(self, type: str, *positional: Any, **how: Any) -> Any:
        """Tell it, unless it is of a task and nobody was there to hear the last one."""
        is_idle = self._heard_by == 0 and time.monotonic() - self._asked_at < _ASKED_AGAIN_SECONDS
        if is_idle and type.startswith("task-"):
            return None
        return super().send(type, *positional, **how)

    def ask_again(self) -> None:
        """Somebody begins to listen: the next event is told whatever was known before."""
        self._heard_by = None

    def _publish(self, event: Any, producer: Any, routing_key: str, **how: Any) -> None:
        kept = len(self._outbound_buffer)
        super()._publish(event, producer, routing_key, **how)
        # What the broker did not take is kept until it is back.
        was_told = producer is not None and len(self._outbound_buffer) == kept
        # Whoever listens to heartbeats alone hears nothing of tasks, and the other way round.
        if was_told and routing_key.startswith("task."):
            self._heard_by, self._asked_at = producer.channel.heard_by, time.monotonic()


class WorkerEvents(Events):  # type: ignore[misc]
    """What a Celery app takes as its `events`."""

    dispatcher_cls = Dispatcher


def heed_listeners() -> None:
    """Have the workers of this process tell the next event at once when a monitor says that it listens."""
    Panel.data["enable_events"] = _enable_events


def _enable_events(state: Any, **_: object) -> dict[str, str]:
    """What a monitor sends to all workers when it begins to listen, and Flower every few seconds."""
    state.consumer.event_dispatcher.ask_again()
    return {"ok": "task events already enabled"}
