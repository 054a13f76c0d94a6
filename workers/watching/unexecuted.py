"""Tells Celery's monitors how calls ended that no worker can speak for: it died, or none came. Changes nothing."""

from __future__ import annotations

import json
import logging
from typing import Any

from celery import signals

from queues.topology import tool_task
from workers.watching.words import Kind

_ENDS = {
    "lost": "lost: its worker died, and whether it took effect is unknown",
    "expired": "expired: no worker took it in time",
    "buried": "buried: three workers died while they executed it; `errandry dead list` shows it",
}

_log = logging.getLogger(__name__)


class UnexecutedCalls:
    """In an agent worker, whose sweep finds such calls. Without it they would seem to be executed for ever."""

    def __init__(self) -> None:
        self._consumer: Any = None
        # A weak reference would let go of the method at once.
        signals.worker_ready.connect(self._take, weak=False)

    def _take(self, sender: object, **_: object) -> None:
        self._consumer = sender

    def tell(self, pool: str, entry: str, found: str) -> None:
        """Say how the call of a due set's entry ended, if it did. What cannot be told is not: Flower only shows."""
        if found not in _ENDS or self._consumer is None:
            return
        try:
            run_id, step, tool_call_id, tool_name = map(str, json.loads(entry))
            text = _ENDS[found]
            self._consumer.event_dispatcher.send(
                Kind.FAILED.value,
                uuid=f"{run_id}:{step}:{tool_call_id}",
                name=tool_task(pool, tool_name),
                args=f"run={run_id} step={step} tool={tool_name}",
                root_id=run_id,
                exception=text,
                result=text,
                traceback=None,
            )
        except Exception:
            _log.debug("Flower is not told of %s", entry, exc_info=True)
