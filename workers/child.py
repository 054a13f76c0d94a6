"""One child process from start to end: its output line by line, its readiness, its end.

It never starts a second time; `workers.processes` decides about that.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from queues.tether import spawn_tethered

LineSink = Callable[[str, str], None]
_LONGEST_LINE = 64 * 1024
_LINES_KEPT = 20
_LAST_OUTPUT_SECONDS = 1.0


@dataclass(frozen=True)
class ChildCommand:
    """What to start, and how to know that it is ready: by a line of its output, by asking, by both, or at once."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    ready_line: re.Pattern[str] | None = None
    is_ready: Callable[[], bool] | None = None
    ready_timeout_seconds: float = 30.0


class Child:
    """A started process in a session of its own, which ends with this one. What it leaves in its group is killed.

    `on_line` and `on_end` are called from threads of the child and must not raise.
    """

    def __init__(self, command: ChildCommand, *, on_line: LineSink, on_end: Callable[[Child], None]) -> None:
        self.command = command
        self.ended = threading.Event()
        self._on_line = on_line
        self._on_end = on_end
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._line_seen = threading.Event()
        self._reaping = threading.Lock()
        self._process = spawn_tethered(command.command, env=command.env, cwd=command.cwd, output=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, name=f"output-of-{command.name}", daemon=True)
        self._reader.start()
        threading.Thread(target=self._await_end, name=f"end-of-{command.name}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        said = self.command.ready_line is None or self._line_seen.is_set()
        return said and (self.command.is_ready is None or self.command.is_ready())

    @property
    def last_lines(self) -> list[str]:
        return list(self._lines)

    def how_it_ended(self) -> str:
        """A verb phrase: by a signal, or with a status."""
        status = self._process.returncode
        if status is None:
            return "is running"
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def terminate(self) -> None:
        """Asks the process to finish what it holds and leave. Does nothing once it has ended."""
        with self._reaping:
            if self._process.returncode is None:
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process at once, and then, as after any end, its group. Does nothing once it has ended."""
        with self._reaping:
            if self._process.returncode is None:
                os.kill(self.pid, signal.SIGKILL)

    def _await_end(self) -> None:
        if hasattr(os, "waitid"):
            # Not reaped yet, so that the number of the group cannot belong to strangers when it is killed.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        # macOS answers "not permitted" where only a zombie is left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with self._reaping:
            self._process.wait()
        # Bounded: a process that left the group may hold the pipe open for as long as it likes.
        self._reader.join(_LAST_OUTPUT_SECONDS)
        self.ended.set()
        self._on_end(self)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            while raw := output.readline(_LONGEST_LINE):
                self._take(raw.decode("utf-8", errors="replace").rstrip("\r\n"))

    def _take(self, line: str) -> None:
        self._lines.append(line)
        # First: whoever finds the child ready may rely on having been handed what it said until then.
        self._on_line(self.command.name, line)
        if self.command.ready_line is not None and self.command.ready_line.search(line):
            self._line_seen.set()
