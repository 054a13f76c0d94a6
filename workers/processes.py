"""Supervision of child processes: start and wait until ready, restart after a crash, drain and stop.

It never knows what the children do, and none of them outlives it.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Self, TextIO

from agent_core.errors import ErrandryError
from workers.child import Child, ChildCommand, LineSink

_FIRST_RESTART_SECONDS = 0.5
_LONGEST_RESTART_SECONDS = 10.0
_CRASHES_ALLOWED = 5
_CRASH_WINDOW_SECONDS = 60.0
_KILL_SECONDS = 5.0
_PAUSE_SECONDS = 0.02


class ProcessError(ErrandryError):
    """A process cannot be started or kept running; the sentence carries its last output."""


class ProcessGroup:
    """Children that are started, watched and stopped together. Leaving its `with` block stops them all."""

    def __init__(
        self,
        *,
        on_line: LineSink,
        drain_seconds: float = 30.0,
        first_restart_seconds: float = _FIRST_RESTART_SECONDS,
        crashes_allowed: int = _CRASHES_ALLOWED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_line = on_line
        self._drain_seconds = drain_seconds
        self._first_restart_seconds = first_restart_seconds
        self._crashes_allowed = crashes_allowed
        self._clock = clock
        self._stages: list[list[str]] = []
        self._children: dict[str, Child] = {}
        self._crashes: defaultdict[str, deque[float]] = defaultdict(deque)
        self._ends: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._stopping = False

    def start(self, *commands: ChildCommand) -> None:
        """Starts these children side by side; returns when all are ready. They are one stage, and stop together.

        Raises `ProcessError` if one ends, or is not ready in time; the others go on until the group is stopped.
        """
        self._stages.append([command.name for command in commands])
        children = [self._spawn(command) for command in commands]
        for child in children:
            if child is None:
                raise ProcessError("Nothing can be started any more, because everything is being stopped.")
            self._await_ready(child)

    def pids(self) -> dict[str, int]:
        """The process of each child, by name."""
        return {name: child.pid for name, child in self._children.items() if not child.ended.is_set()}

    def supervise(self) -> None:
        """Starts crashed children again until `request_stop`. Any end counts as a crash.

        The wait doubles with each crash of a child; too many of them within a minute raise `ProcessError`.
        """
        due: dict[str, float] = {}
        while True:
            try:
                ended = self._ends.get(timeout=max(0.0, min(due.values()) - self._clock()) if due else None)
            except queue.Empty:
                for name in [name for name, at in due.items() if at <= self._clock()]:
                    del due[name]
                    self._spawn(self._children[name].command)
                continue
            if ended is None:
                return
            due[ended.command.name] = self._clock() + self._wait_after(ended)

    def request_stop(self) -> None:
        """Makes `supervise` return. May be called from a signal handler and from any thread."""
        self._ends.put(None)

    def stop(self) -> None:
        """Drains and ends all children, the last stage first; what is left after the drain's bound is killed.

        Within a stage all are asked at once, so that they drain side by side. May be repeated.
        """
        with self._starting:
            self._stopping = True
        self.request_stop()
        deadline = self._clock() + self._drain_seconds
        while self._stages:
            stage = [self._children[name] for name in reversed(self._stages.pop()) if name in self._children]
            for child in stage:
                child.terminate()
            for child in stage:
                if not child.ended.wait(max(0.0, deadline - self._clock())):
                    self._say(child.command.name, f"did not leave within {self._drain_seconds:g} s and is killed")
                    child.kill()
                    child.ended.wait(_KILL_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _say(self, name: str, line: str) -> None:
        # The terminal or file may be gone; the output must be read all the same, for a full pipe would stop the child.
        with contextlib.suppress(OSError, ValueError):
            self._on_line(name, line)

    def _spawn(self, command: ChildCommand) -> Child | None:
        """None if the group is being stopped: what started now would be overlooked."""
        with self._starting:
            if self._stopping:
                return None
            child = Child(command, on_line=self._say, on_end=self._ends.put)
            self._children[command.name] = child
            return child

    def _await_ready(self, child: Child) -> None:
        command = child.command
        deadline = self._clock() + command.ready_timeout_seconds
        while True:
            # Asked first: one that was ready and then ended has come so far, and its end is the supervision's.
            has_ended = child.ended.is_set()
            if child.is_ready:
                return
            if has_ended:
                raise ProcessError(_last_words(child, f"{child.how_it_ended()} before it was ready"))
            if self._clock() > deadline:
                raise ProcessError(_last_words(child, f"was not ready within {command.ready_timeout_seconds:g} s"))
            child.ended.wait(_PAUSE_SECONDS)

    def _wait_after(self, ended: Child) -> float:
        crashes = self._crashes[ended.command.name]
        crashes.append(self._clock())
        while crashes[0] < self._clock() - _CRASH_WINDOW_SECONDS:
            crashes.popleft()
        if len(crashes) > self._crashes_allowed:
            raise ProcessError(
                _last_words(ended, f"crashed {len(crashes)} times in a minute; the last time it {ended.how_it_ended()}")
            )
        wait_seconds = min(_LONGEST_RESTART_SECONDS, self._first_restart_seconds * 2.0 ** (len(crashes) - 1))
        self._say(ended.command.name, f"{ended.how_it_ended()}; starting it again in {wait_seconds:g} s")
        return wait_seconds


def lines_to(stream: TextIO, *, width: int = 16) -> LineSink:
    """A sink that writes each line to `stream` with the child's name in front, whole lines only."""
    writing = threading.Lock()

    def write(name: str, line: str) -> None:
        with writing:
            stream.write(f"{name:<{width}} | {line}\n")
            stream.flush()

    return write


def ensure_port_free(host: str, port: int, *, what: str, option: str) -> None:
    """Raises `ProcessError`, naming the port and the option that changes it, if `what` could not listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used ({error})"
        raise ProcessError(f"Port {port} on {host}, for {what}, {reason}; choose another with {option}.") from error


def _last_words(child: Child, what: str) -> str:
    said = "\n".join(f"  {line}" for line in child.last_lines)
    return f"The process {child.command.name} {what}. " + (f"Its last output:\n{said}" if said else "It said nothing.")
