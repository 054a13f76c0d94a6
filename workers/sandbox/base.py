"""The seam of the sandbox: what a supervisor hands in, what it gets back, and what may be refused.

It never starts a process and knows no kind of wall; `opening.open_sandbox` chooses one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol, Self

from pydantic import JsonValue

from agent_core.errors import ErrandryError
from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings


class SandboxError(ErrandryError):
    """Root of the sandbox's branch."""


class SandboxUnavailableError(SandboxError):
    """The wall that the settings ask for cannot be had here; the sentence carries the probe's words and the remedy."""


class ToolsUnreadableError(SandboxError):
    """The pool's tools cannot be loaded; the sentence names the import string and the reason."""


class SandboxLevel(StrEnum):
    """How much stands between the tool and this machine."""

    NS = "ns"
    SHARED = "shared"
    LANDLOCK = "landlock"
    SEATBELT = "seatbelt"
    NONE = "none"


@dataclass(frozen=True)
class Limits:
    """What one call may use; each of them holds for the whole process tree of the call.

    Only `file_mb` and `open_files` are counted for each file and each process: the kernel has no other way.
    """

    wall_seconds: float = 30
    cpu_seconds: float = 10
    memory_mb: int = 256
    pids: int = 64
    output_kb: int = 1024
    stdout_kb: int = 16
    disk_mb: int = 64
    inodes: int = 16384
    file_mb: int = 64
    open_files: int = 256
    workspace_mb: int = 0

    @classmethod
    def from_settings(cls, settings: SandboxSettings) -> Self:
        """The limits of a pool as its settings spell them."""
        return cls(
            wall_seconds=settings.wall_seconds,
            cpu_seconds=settings.cpu_seconds,
            memory_mb=settings.memory_mb,
            pids=settings.pids,
            output_kb=settings.output_kb,
            stdout_kb=settings.stdout_kb,
            disk_mb=settings.disk_mb,
            inodes=settings.inodes,
            file_mb=settings.largest_file_mb,
            open_files=settings.open_files,
            workspace_mb=settings.workspace_mb,
        )


@dataclass(frozen=True)
class SandboxCall:
    """One tool call; the smaller of `timeout_seconds` and the pool's wall time counts.

    `tell` is given what the tool writes to stdout and stderr while it runs, from the thread that runs the call (see
    `live.LiveOutput`); without it nobody asks. With `shows_arguments` the outcome has them in a form that may be shown.
    """

    tool_name: str
    tool_args: Mapping[str, JsonValue]
    idempotency_key: str
    timeout_seconds: float | None = None
    tell: Callable[[str], object] | None = None
    shows_arguments: bool = False


@dataclass(frozen=True)
class ToolDescription:
    """What the supervisor may know of a tool without importing it."""

    name: str
    description: str
    parameters: dict[str, JsonValue] = field(default_factory=dict)
    timeout_seconds: float | None = None
    max_attempts: int = 1
    backoff_seconds: float = 0
    on_lost: Literal["report", "retry"] = "report"
    external_execution: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a call ended; every number is measured outside the wall, never taken from the tool's own answer.

    `detail` says what stood around this call and how it came to its end: status, namespaces, filter, Landlock, what
    measured its memory, whether a spare served it. `arguments` are those of the call as JSON, without the pool's
    secrets, if they are to be shown.
    """

    outcome: CallOutcome
    content: str
    exit_code: int | None
    wall_seconds: float
    cpu_seconds: float
    peak_memory_mb: float | None
    truncated: bool
    level: SandboxLevel
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    arguments: str = ""


class Sandbox(Protocol):
    """A wall for the tools of one pool; safe to use from several threads at once."""

    @property
    def level(self) -> SandboxLevel:
        """How much this wall holds."""
        ...

    @property
    def gaps(self) -> tuple[str, ...]:
        """What this wall leaves open, in words."""
        ...

    def describe(self) -> list[ToolDescription]:
        """The pool's tools, read behind the wall; raises `ToolsUnreadableError`."""
        ...

    def run(self, call: SandboxCall, *, cancelled: threading.Event) -> Outcome:
        """Execute one call in a process of its own and wait for its end; a failing tool is an outcome, no exception.

        Afterwards nothing of the call is left running. Setting `cancelled` kills it at once. Raises
        `SandboxUnavailableError` only if nothing could be started at all.
        """
        ...

    def close(self) -> None:
        """Kill what still runs and let go of everything; a repeat does nothing."""
        ...
