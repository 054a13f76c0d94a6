"""The real `errandry` command in processes of its own, and what it leaves behind.

It never shares the environment of whoever runs the tests: no key, no settings, and a marker to find its processes by.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.waiting import is_running, wait_until

ERRANDRY = Path(sys.executable).parent / "errandry"
_MARKER = "TEST_MARKER"


@dataclass
class Command:
    """Runs `errandry` in one folder; `environment` is added to a clean one."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    marker: str = field(default_factory=lambda: f"T{uuid.uuid4().hex}")

    def run(self, *arguments: str, timeout_seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [str(ERRANDRY), *arguments],
            cwd=self.folder,
            env=self.full_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def run_together(self, *commands: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
        """Run several commands side by side; their results in the given order."""
        with ThreadPoolExecutor(len(commands)) as threads:
            return list(threads.map(lambda arguments: self.run(*arguments), commands))

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Started]:
        """A command that runs until the end of the block, where it is killed if it has not left by itself."""
        output = self.folder.parent / f"{self.marker}.{uuid.uuid4().hex[:8]}.log"
        with output.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                [str(ERRANDRY), *arguments],
                cwd=self.folder,
                env=self.full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Started(process, output)
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def up(self, *options: str) -> Iterator[Started]:
        """`errandry up`, all of it ready; an orderly stop at the end has to succeed. The gateway takes a free port."""
        ports = () if any("gateway" in option for option in options) else ("--gateway-port", "0")
        with self.started("up", *options, *ports) as project:
            project.wait_for_line("Up: ")
            yield project
            if project.process.poll() is None:
                assert project.stop(signal.SIGTERM) == 0, project.said()

    def left_behind(self) -> list[str]:
        """Command lines of processes that still bear this command's marker."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and is_running(int(entry.name)):
                try:
                    bears = self.marker.encode() in (entry / "environ").read_bytes()
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                # Sandboxed processes have another environment, but the folder in their command line.
                if bears or str(self.folder).encode() in words:
                    found.append(words.replace(b"\0", b" ").decode(errors="replace"))
        return found

    def full_environment(self) -> dict[str, str]:
        """What the command finds in its environment."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ERRANDRY_", "OPENAI_", "FLOWER_"))
        }
        # Its logs as a person reads them, though what it writes to is a file.
        return {**inherited, "ERRANDRY_LOG_FORMAT": "text", _MARKER: self.marker, **self.environment}


@dataclass(frozen=True)
class Started:
    """A command that runs."""

    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        """Everything that it has said so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait_for_line(self, text: str, *, timeout_seconds: float = 60) -> str:
        """Returns the first line that holds `text`; fails if the command ends before it says so."""

        def line() -> str | None:
            return next((line for line in self.said().splitlines() if text in line), None)

        def is_over() -> bool:
            return line() is not None or self.process.poll() is not None

        wait_until(is_over, f"errandry said {text!r}", timeout_seconds=timeout_seconds)
        found = line()
        assert found is not None, self.said()
        return found

    def stop(self, number: signal.Signals, *, timeout_seconds: float = 45) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_seconds)
