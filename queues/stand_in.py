"""A small process that renews a worker's leases while its own heartbeat is held up; never decides about a loss.

One call into C can hold the interpreter's lock for as long as it likes: a regular expression that backtracks, a huge
power. The worker lives, and works, but none of its threads does. This process is told of each change what is held or no
longer held, and with each heartbeat that the worker lives. It renews when it has not been told anything for a while,
unless the worker is dead or stopped, or has been silent for so long that it must be taken for stuck.

python -m queues.stand_in (its orders come from its standard input)
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import redis

from queues.connections import connect
from queues.scripts import ScriptCall, Scripts

# A worker whose interpreter has stood still for so long is not coming back by itself.
SILENCE_SECONDS = 600.0
_LATE_BEATS = 1.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orders:
    """What the process is told first."""

    redis_url: str = field(repr=False)
    heartbeat_seconds: float
    silence_seconds: float = SILENCE_SECONDS


class StandIn:
    """The worker's side. Not thread-safe; started with the first word to it, and again if it has died."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._held: dict[int, ScriptCall] = {}
        self._over: list[int] = []  # no longer held, and not told yet
        self._numbers = itertools.count(1)

    @property
    def pid(self) -> int | None:
        """Its process, once it has been started."""
        return self._process.pid if self._process is not None else None

    def hold(self, renewal: ScriptCall) -> int:
        """Say that this is held from now on; returns its number. Told is only what is new, however much is held.

        Failures are not this caller's, here and below: the next beat tells all of it.
        """
        number = next(self._numbers)
        self._held[number] = renewal
        self._tell({number: renewal})
        return number

    def let_go(self, number: int, *, at_once: bool) -> None:
        """Take back what was held; the next word says so, which is early enough where the store refuses its renewal."""
        del self._held[number]
        self._over.append(number)
        if at_once:
            self._tell({})

    def live(self) -> None:
        """Say that this process lives."""
        if self._process is not None and self._process.poll() is not None:
            self._end()
        self._tell({})

    def close(self) -> None:
        """End the process. May be repeated."""
        self._is_closed = True
        self._end()

    def _tell(self, new: Mapping[int, ScriptCall]) -> None:
        if self._is_closed:
            return
        if self._process is None:
            try:
                self._process = self._started()
            except OSError as error:
                _log.warning("no stand-in for the heartbeat can be started: %s", error)
                return
            self._say(asdict(self._orders))
            new, self._over = self._held, []
        told = {number: (call.name, call.keys, call.arguments) for number, call in new.items()}
        over, self._over = self._over, []
        self._say([told, over])

    def _started(self) -> subprocess.Popen[bytes]:
        # -P: a module of the project's that is named as one of ours must not take its place.
        command = [sys.executable, "-P", "-m", "queues.stand_in"]
        # Its own session, for a Ctrl-C in the terminal is for the worker. It ends at the end of its input.
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  (no shell)

    def _say(self, what: object) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            _log.warning("the stand-in for the heartbeat is gone: %s", error)
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.kill()
            process.wait()


class _Heard:
    """What the worker holds by its own words, and when the last one came."""

    def __init__(self, source: IO[bytes]) -> None:
        self._held: dict[str, ScriptCall] = {}
        self.at = time.monotonic()
        self.is_over = threading.Event()
        # Always read, even while Redis keeps this process waiting: a full pipe would hold up the worker.
        threading.Thread(target=self._listen, args=(source,), daemon=True).start()

    @property
    def renewals(self) -> list[ScriptCall]:
        """What renews all of it."""
        return list(self._held.values())

    def _listen(self, source: IO[bytes]) -> None:
        for line in source:
            new, over = json.loads(line)
            self._held.update({number: ScriptCall(*renewal) for number, renewal in new.items()})
            for number in over:
                self._held.pop(str(number), None)
            self.at = time.monotonic()
        self.is_over.set()


def stand_in(orders: Orders, source: IO[bytes], *, worker: int) -> None:
    """Renew in the worker's place whenever it is late, until its end."""
    scripts = Scripts(connect(orders.redis_url, client_name="errandry-stand-in"))
    heard = _Heard(source)
    while not heard.is_over.wait(orders.heartbeat_seconds / 2):
        # A process that the worker's tools started may have kept the pipe open.
        if os.getppid() != worker:
            return
        silence = time.monotonic() - heard.at
        if silence < _LATE_BEATS * orders.heartbeat_seconds or silence > orders.silence_seconds:
            continue
        renewals = heard.renewals
        if renewals and not _is_stopped(worker):
            with contextlib.suppress(redis.RedisError):  # the next turn tries again
                scripts.words(renewals)


def _is_stopped(pid: int) -> bool:
    """Whether the process is stopped or dead: then others are to take over what it holds."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return True
        command = ["/bin/ps", "-o", "state=", "-p", str(pid)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (no shell)
        state = shown.stdout.strip() or "Z"
    return state[0] in "TtZX"


def main() -> None:
    """The process of its own."""
    first = sys.stdin.buffer.readline()
    if first:
        stand_in(Orders(**json.loads(first)), sys.stdin.buffer, worker=os.getppid())


if __name__ == "__main__":
    main()
