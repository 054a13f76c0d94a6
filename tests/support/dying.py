"""A worker that kills itself with SIGKILL at the n-th telemetry event of a name, once; otherwise the real one.

DYING_MODULE=workers.agent_worker DYING_AT=run.saved:2 DYING_FLAG=/tmp/x celery -A tests.support.dying worker …
"""

from __future__ import annotations

import importlib
import itertools
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from celery import Celery

from agent_core.telemetry import Listener, listen


def dying_at(event: str, occurrence: int, flag: Path) -> Listener:
    """A listener that ends this process at the given occurrence, unless the flag says that one has died already."""
    counted = itertools.count(1)

    def die(name: str, _: Mapping[str, object]) -> None:
        if name == event and next(counted) == occurrence and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def __getattr__(name: str) -> Celery:
    if name not in ("app", "celery"):
        raise AttributeError(name)
    event, _, occurrence = os.environ["DYING_AT"].partition(":")
    listen(dying_at(event, int(occurrence), Path(os.environ["DYING_FLAG"])))
    app: Celery = importlib.import_module(os.environ["DYING_MODULE"]).app
    return app
