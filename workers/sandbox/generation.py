"""One zygote as its supervisor sees it: started, greeted, asked for children, retired when it has served long enough.

It never speaks to a child beyond its first byte, and it never starts a second zygote; `zygotes` does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from workers.sandbox.base import SandboxError
from workers.sandbox.bootstrap import interpreter
from workers.sandbox.children import Child, first_living, new_ends, order_of
from workers.sandbox.launching import Launcher
from workers.sandbox.levels import Level
from workers.sandbox.zygote import MESSAGE_BYTES

START_SECONDS = 60
SEAL_SECONDS = 10
END_SECONDS = 5
REMOVE_SECONDS = 2
WORDS_BYTES = 16 * 1024


Chore = Callable[[], object]


class ZygoteBrokenError(SandboxError):
    """The zygote cannot give a child, or could not be started; its own words say why."""


@dataclass(frozen=True)
class Recipe:
    """How a pool's zygotes are made; the environment holds no secrets, which travel with each request instead."""

    launcher: Launcher
    level: Level
    tools: Sequence[str]
    python_path: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[Child, Callable[[Chore], object]], None] = lambda child, later: None


class Zygote:
    """A living zygote; safe to use from several threads at once. `cold` says why it has no tools loaded, if so.

    `changed` is called after each end, and `later` is given what nobody has to wait for.
    """

    def __init__(self, recipe: Recipe, *, cold: str = "") -> None:
        self._recipe = recipe
        self._lock = threading.Lock()
        self._children = 0
        self._retired = False
        self._closed = False
        self._spares: deque[Child] = deque()
        self.changed: Callable[[], None] = lambda: None
        self.later: Callable[[Chore], object] = lambda chore: chore()
        self.taken = 0
        self.started_at = time.monotonic()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._words, words = os.pipe()
        command = recipe.level.outer(interpreter(recipe.python_path, module="workers.sandbox.zygote"))
        try:
            with open(os.devnull, "wb") as nothing, theirs:  # noqa: PTH123 - a device
                self.news = recipe.launcher.order(
                    command,
                    environment=recipe.level.environment,
                    fds=[nothing.fileno(), words, theirs.fileno()],
                    walled=True,
                )
        except BaseException:
            self._control.close()
            os.close(self._words)
            raise
        finally:
            os.close(words)
        try:
            self.cold = self._greeted(cold)
        except BaseException:
            self.close()
            raise

    @property
    def age_seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self.started_at

    @property
    def spares(self) -> int:
        """How many children wait."""
        return len(self._spares)

    def _greeted(self, cold: str) -> str:
        recipe = self._recipe
        start = {
            "tools": list(recipe.tools),
            "environment": dict(recipe.environment),
            "project_dir": recipe.level.plan.project_dir,
            "plan": recipe.level.renewed().to_json(),
            "cold": cold,
        }
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(start).encode())
        words = bytearray()
        poll = select.poll()
        for source in (self._control.fileno(), self.news.fileno(), self._words):
            poll.register(source, select.POLLIN)
        until = time.monotonic() + START_SECONDS
        while left := max(0, until - time.monotonic()):
            ready = {fd for fd, _ in poll.poll(left * 1000)}
            if self._control.fileno() in ready:
                greeting = _message(self._control)
                if greeting:
                    return str(greeting["cold"])
                poll.unregister(self._control)
            if self._words in ready:
                chunk = os.read(self._words, WORDS_BYTES)
                words = (words + chunk)[-WORDS_BYTES:]
                if not chunk:
                    poll.unregister(self._words)
            elif self.news.fileno() in ready:
                news = _message(self.news)
                if "started" not in news:
                    said = words.decode("utf-8", "replace").strip() or str(news.get("error", ""))
                    raise ZygoteBrokenError(said or "it ended without a word")
        raise ZygoteBrokenError(f"it was not ready after {START_SECONDS} s")

    def lives(self) -> bool:
        """Whether it can be asked for a child; a hung one is found out by asking."""
        if self._closed or self._retired:
            return False
        poll = select.poll()
        try:
            poll.register(self.news, select.POLLIN)
        except ValueError:
            return False  # closed by another thread this very moment
        return not poll.poll(0)

    def spare(self) -> Child | None:
        """A child that waits already, if there is one."""
        return first_living(self._spares)

    def add_spare(self) -> None:
        """Have one more child wait; raises as `order` does."""
        child = self.order()
        with self._lock:
            if not self._retired:
                self._spares.append(child)
                return
        child.close()

    def order(self) -> Child:
        """A sealed child that has been asked nothing; raises `ZygoteBrokenError`, after which nothing of it is left."""
        ends = new_ends(self._recipe.level.plan.handed)
        child = ends.child
        try:
            socket.send_fds(self._control, [b"child"], order_of(ends))
        except OSError as error:
            child.close()
            raise ZygoteBrokenError(f"it is gone ({error})") from error
        finally:
            ends.close()
        with self._lock:
            self._children += 1
        child.over = partial(self._over, child)
        try:
            # Limited while it still puts up its wall: to move a process between groups takes the kernel milliseconds.
            words = child.await_sealed(SEAL_SECONDS, started=lambda: self._recipe.ready(child, self.later))
        except OSError as error:
            # Most likely it has died already, and knows better why.
            words = child.last_words(f"its child cannot be limited: {error}")
        if words:
            child.close()
            raise ZygoteBrokenError(words)
        child.hold_mounts()
        with self._lock:
            self.taken += 1
        return child

    def _over(self, child: Child, unknown: bool) -> None:
        held, child.held = child.held, None
        if held is not None:
            self.later(partial(os.close, held))
        with self._lock:
            self._children -= 1
            last = self._retired and self._children == 0
        if last or unknown:
            self.close()
        self.changed()

    def retire(self) -> None:
        """Give no more children; those that run go on to their end, and the last one takes it along."""
        with self._lock:
            self._retired = True
            spares = list(self._spares)
            self._spares.clear()
            idle = self._children == 0
        for child in spares:
            child.close()
        if idle:
            self.close()

    def close(self) -> None:
        """End it and every child of it, and wait for that with a bound; a repeat does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = self._retired = True
            spares = list(self._spares)
            self._spares.clear()
        for child in spares:
            child.close()
        self._control.close()
        os.close(self._words)
        with contextlib.suppress(OSError):
            if self._recipe.level.plan.scratch:
                # It removes what lies in this machine's folders, and ends by itself.
                select.select([self.news], [], [], REMOVE_SECONDS)
            self.news.shutdown(socket.SHUT_WR)
            self.news.settimeout(END_SECONDS)
            while self.news.recv(MESSAGE_BYTES):
                pass
        self.news.close()


def _message(source: socket.socket) -> dict[str, Any]:
    """The next message, {} at their end."""
    try:
        message: dict[str, Any] = json.loads(source.recv(MESSAGE_BYTES) or "{}")
    except ConnectionResetError:
        return {}
    return message
