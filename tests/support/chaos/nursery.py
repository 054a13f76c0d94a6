"""Starts workers by forking a process that has imported all they need: one that was killed is back in a moment.

What a worker does from there on is what Celery's own command does. Importing is nine tenths of a start, and an
experiment kills thousands of them.

python -m tests.support.chaos.nursery FD (a socket on which it is told what to start, and tells how that ended)
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workers.child import ChildCommand, LineSink

_MODULES = (
    "celery.__main__", "celery.bin.worker", "celery.apps.worker", "celery.concurrency.thread", "celery.worker.consumer",
    "celery.worker.autoscale", "celery.events.state", "kombu.transport.redis", "kombu.asynchronous.hub", "openai",
    "tests.support.chaos.agents", "workers.agent_worker", "workers.tool_worker", "workers.sandbox.walls",
)  # fmt: skip


class Sprout:
    """A worker that the nursery has started; to its users it is a `workers.child.Child`."""

    def __init__(self, command: ChildCommand, pid: int, output: int, on_line: LineSink) -> None:
        self.command, self.pid = command, pid
        self.ended = threading.Event()
        self.is_ready = False
        self._status = 0
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=20)
        threading.Thread(target=self._read, args=(output,), daemon=True).start()

    @property
    def last_lines(self) -> list[str]:
        return list(self._lines)

    def how_it_ended(self) -> str:
        if not self.ended.is_set():
            return "is running"
        if os.WIFSIGNALED(self._status):
            return f"was killed by {signal.Signals(os.WTERMSIG(self._status)).name}"
        return f"ended with status {os.WEXITSTATUS(self._status)}"

    def note_end(self, status: int) -> None:
        self._status = status
        self.ended.set()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self.ended.is_set():
                os.kill(self.pid, number)

    def _read(self, output: int) -> None:
        with os.fdopen(output, encoding="utf-8", errors="replace") as lines:
            for raw in lines:
                line = raw.rstrip("\n")
                self._lines.append(line)
                # First: whoever finds it ready may rely on having been handed what it said until then.
                self._on_line(self.command.name, line)
                if self.command.ready_line is not None and self.command.ready_line.search(line):
                    self.is_ready = True


class Nursery:
    """The fleet's side. `close` ends all that it has started. The words `inside` start it somewhere else."""

    def __init__(self, env: Mapping[str, str], cwd: Path, *, inside: Sequence[str] = ()) -> None:
        self._socket, far = socket.socketpair()
        command = [*inside, sys.executable, "-m", "tests.support.chaos.nursery", str(far.fileno())]
        self._process = subprocess.Popen(command, env=dict(env), cwd=cwd, pass_fds=[far.fileno()])
        far.close()
        self._lines = self._socket.makefile("r")
        self._sprouts: dict[int, Sprout] = {}
        self._started: deque[int] = deque()
        self._news = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def start(self, command: ChildCommand, *, on_line: LineSink) -> Sprout:
        """A worker from its very beginning."""
        reading, writing = os.pipe()
        order = {"words": list(command.command), "env": dict(command.env), "cwd": str(command.cwd)}
        text = json.dumps(order).encode()
        with self._news:
            socket.send_fds(self._socket, [len(text).to_bytes(4, "big") + text], [writing])
            os.close(writing)
            if not self._news.wait_for(lambda: self._started, timeout=60):
                raise AssertionError("the nursery does not answer")
            sprout = Sprout(command, self._started.popleft(), reading, on_line)
            self._sprouts[sprout.pid] = sprout
        return sprout

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait(20)
        self._listener.join(20)
        self._lines.close()
        self._socket.close()

    def _listen(self) -> None:
        for line in self._lines:
            pid, status = json.loads(line)
            with self._news:
                if status is None:
                    self._started.append(pid)
                    self._news.notify_all()
            if status is not None:
                with self._news:
                    self._news.wait_for(lambda pid=pid: pid in self._sprouts, timeout=10)  # type: ignore[misc]
                    self._sprouts.pop(pid).note_end(status)


def serve(near: socket.socket) -> None:
    """Fork what is asked for and tell of ends, until the other side is gone; then end all."""
    for name in _MODULES:
        importlib.import_module(name)
    running: set[int] = set()
    while True:
        ready, _, _ = select.select([near], [], [], 0.02)
        if ready:
            order, descriptors = _next_order(near)
            if order is None:
                break
            pid = os.fork()
            if pid == 0:
                near.close()
                _become(order, descriptors[0])
            os.close(descriptors[0])
            running.add(pid)
            _tell(near, pid, None)
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.discard(pid)
                _tell(near, pid, status)
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _next_order(near: socket.socket) -> tuple[dict[str, object] | None, list[int]]:
    head, descriptors, _, _ = socket.recv_fds(near, 4, 1)
    if len(head) < 4:
        return None, descriptors
    length, text = int.from_bytes(head, "big"), b""
    while len(text) < length:
        text += near.recv(length - len(text))
    return json.loads(text), descriptors


def _tell(near: socket.socket, pid: int, status: int | None) -> None:
    with contextlib.suppress(OSError):
        near.sendall(f"{json.dumps([pid, status])}\n".encode())


def _become(order: dict[str, object], output: int) -> None:
    """In the child: a process as if Celery's command had been executed."""
    code = 1
    try:
        os.setsid()
        for number in (1, 2):
            os.dup2(output, number)
        os.close(output)
        os.environ.clear()
        os.environ.update(order["env"])  # type: ignore[call-overload]
        os.chdir(str(order["cwd"]))
        words = order["words"]
        assert isinstance(words, list)
        sys.argv = ["celery", *words[words.index("celery") + 1 :]]
        command: Callable[[], object] = importlib.import_module("celery.__main__").main
        code = int(command() or 0)  # type: ignore[call-overload]
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
