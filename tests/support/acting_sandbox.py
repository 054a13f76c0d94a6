"""A sandbox without a wall, whose calls do what a test hands it, in the thread of the call."""

from __future__ import annotations

import threading
from collections.abc import Callable

from agent_core.tools.execution import CallOutcome
from workers.sandbox.base import Outcome, SandboxCall, SandboxLevel, ToolDescription


class ActingSandbox:
    """Each call succeeds once `act` returns, which gets the event that tells a call to stop."""

    level = SandboxLevel.NONE
    gaps: tuple[str, ...] = ()

    def __init__(self, act: Callable[[threading.Event], object]) -> None:
        self._act = act

    def describe(self) -> list[ToolDescription]:
        return []

    def run(self, call: SandboxCall, *, cancelled: threading.Event | None = None) -> Outcome:
        assert cancelled is not None
        self._act(cancelled)
        return Outcome(
            outcome=CallOutcome.SUCCEEDED,
            content="done",
            exit_code=0,
            wall_seconds=0.5,
            cpu_seconds=0.1,
            peak_memory_mb=None,
            truncated=False,
            level=SandboxLevel.NONE,
        )

    def close(self) -> None:
        """Nothing is open."""
