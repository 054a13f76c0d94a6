"""Has a worker leave its note for probes: that Redis takes its heartbeats, and that it asks its queues.

Never judges itself, and never gets in the way of work: a note that cannot be written is a warning.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, Self

from celery import Celery, bootsteps
from celery.worker import state

from queues.errors import SettingsError
from queues.leases import LeaseKeeper
from queues.settings import Settings
from queues.timing import Timing
from workers.beats import Beat, place, write

_log = logging.getLogger("errandry")


class Beating:
    """The notes of one worker of the given kind, from `start` to `close`, in a file that bears its node name."""

    @classmethod
    def of(cls, settings: Settings, app: Celery, *, kind: str) -> Self | None:
        """Those that the settings ask for, if they do; to be made before the app's worker is."""
        if settings.beats_dir is None:
            return None
        every_seconds = Timing.of_lease(settings.lease_seconds).heartbeat_seconds
        return cls(app, settings.beats_dir, kind=kind, every_seconds=every_seconds)

    def __init__(self, app: Celery, folder: Path, *, kind: str, every_seconds: float) -> None:
        """SettingsError if nothing can be written to the folder."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write(str(folder / kind), Beat(0.0, 0.0, 0.0, 0.0))
            (folder / kind).unlink()
        except OSError as error:
            raise SettingsError(f"beats_dir names {folder}, where nothing can be written: {error.strerror}.") from error
        self._folder = folder
        self._kind = kind
        self._every_seconds = every_seconds
        self._started = time.monotonic()
        self._stored = 0.0
        self._consumed = 0.0
        self._consumer: Any = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="beats", daemon=True)
        app.steps["consumer"].add(self._watching())

    def start(self, leases: LeaseKeeper) -> None:
        """Write with each heartbeat from now on, also while Redis is away."""
        leases.at_each_beat(self._note_stored)
        self._thread.start()

    def close(self) -> None:
        """Write no more, and take the note away: whoever looks finds a worker that is not there. May be repeated."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._consumer is not None:
            self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return Path(place(str(self._folder), self._kind, str(self._consumer.hostname).partition("@")[0]))

    def _watching(self) -> type[bootsteps.StartStopStep]:
        beating = self

        class Watching(bootsteps.StartStopStep):  # type: ignore[misc]
            def start(self, consumer: object) -> None:
                beating._consumer = consumer

        return Watching

    def _note_stored(self) -> None:
        self._stored = time.monotonic()

    def _go_on(self) -> None:
        while True:
            try:
                self._consumed = max(self._consumed, self._asked_at())
                write(str(self._path), Beat(time.monotonic(), self._stored, self._consumed, self._started))
            except Exception:
                # This thread has to go on, whatever that was.
                _log.warning("no note could be left for probes", exc_info=True)
            if self._closing.wait(self._every_seconds):
                return

    def _asked_at(self) -> float:
        """When the broker last answered what this worker asked of its queues.

        A worker with all its places taken does not ask, which is as good while something is executed there. A full
        window with nothing in it is how a worker looks that lost its broker and has not noticed.
        """
        taking = getattr(self._consumer, "task_consumer", None)
        channel = getattr(taking, "channel", None)
        if channel is None:
            return 0.0
        if state.active_requests and not channel.qos.can_consume():
            return time.monotonic()
        return float(channel.asked_at)
