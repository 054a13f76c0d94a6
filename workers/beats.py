"""The note that a worker leaves for probes with each heartbeat, and what it means for whoever reads it.

Imports next to nothing: a probe starts anew every few seconds in each container.
"""

from __future__ import annotations

import os
from collections import namedtuple

FOLDER_VARIABLE = "ERRANDRY_BEATS_DIR"
AGENT_BEATS, TOOL_BEATS = "agent-worker", "tool-worker"
READY_SECONDS = 30.0
"""A worker is ready if Redis took a heartbeat, and the worker asked its queues, within this time."""
DEAF_SECONDS = 120.0
"""A worker that has not asked its queues for so long, though Redis is there, will not do so by itself any more."""
SILENT_SECONDS = 600.0
"""One call into C may hold a worker up; its stand-in keeps its leases for as long as this, and so does the probe."""

Beat = namedtuple("Beat", ["written", "stored", "consumed", "started"])
"""When it was written, Redis last took a heartbeat, the worker last asked its queues (0: never), the worker started.

Seconds of the clock that all processes of a machine share and nobody sets.
"""


def place(folder: str, kind: str, node: str) -> str:
    """The file of one worker; its node name is its own on a machine."""
    return os.path.join(folder, f"{kind}.{node}")  # noqa: PTH118 - pathlib takes longer to import than all the rest


def write(path: str, beat: Beat) -> None:
    """Replace the note at once; a reader sees the old one or the new one."""
    draft = f"{path}.draft"
    with open(draft, "w", encoding="ascii") as file:  # noqa: PTH123 - see above
        file.write(" ".join(f"{seconds:.3f}" for seconds in beat) + "\n")
    os.replace(draft, path)  # noqa: PTH105 - see above


def read(path: str) -> Beat | None:
    """The note, or None if there is none that can be understood."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - see above
            return Beat(*map(float, file.read(200).split()))
    except (OSError, ValueError, TypeError):
        return None


def why_not_ready(beat: Beat, *, now: float) -> str:
    """Why the worker takes no work just now; empty if it does."""
    if not _within(READY_SECONDS, beat.stored, now):
        return f"Redis has taken no heartbeat of this worker within {READY_SECONDS:g} s"
    if not _within(READY_SECONDS, beat.consumed, now):
        return f"this worker has not asked its queues within {READY_SECONDS:g} s"
    return ""


def why_not_alive(beat: Beat, *, now: float) -> str:
    """Why a restart of the worker would help; empty if it would not. An outage of Redis is never a reason."""
    if not _within(SILENT_SECONDS, beat.written, now):
        return f"this worker has written nothing within {SILENT_SECONDS:g} s"
    if _within(READY_SECONDS, beat.stored, now) and not _within(DEAF_SECONDS, max(beat.consumed, beat.started), now):
        return f"Redis takes the heartbeats of this worker, but it has not asked its queues within {DEAF_SECONDS:g} s"
    return ""


def _within(seconds: float, moment: float, now: float) -> bool:
    # What lies ahead was written before the machine was started anew.
    return moment > 0 and now - seconds <= moment <= now + 1
