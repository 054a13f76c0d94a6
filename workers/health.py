"""The command of probes, `errandry-health`: whether a process of this machine takes work, or (--alive) can be helped.

Asks nobody but that process's own note or door, and imports nothing of the product's: it starts every few seconds.
"""

from __future__ import annotations

import os
import socket
import sys
import time

from workers import beats

_READY, _NOT_READY, _MISUSED = 0, 1, 2
_DOOR_SECONDS = 3.0
_DOORS = {"gateway": (8700, "/ready", "/health"), "flower": (5555, "/healthcheck", "/healthcheck")}
_OPTIONS = {
    beats.AGENT_BEATS: ("--name",),
    beats.TOOL_BEATS: ("--pool", "--name"),
    "gateway": ("--port",),
    "flower": ("--port",),
}
_USAGE = f"""\
Usage: errandry-health agent-worker [--name NODE] [--alive]
       errandry-health tool-worker --pool NAME [--name NODE] [--alive]
       errandry-health gateway [--port 8700] [--alive]
       errandry-health flower [--port 5555] [--alive]

Exit code 0 if that process of this machine is ready, 1 (with a sentence) if not, 2 for wrong usage.

A worker is ready if, within the last {beats.READY_SECONDS:g} s, it has asked its queues and Redis has taken its
heartbeat. It is alive unless a restart would help: it has written nothing for {beats.SILENT_SECONDS:g} s, or it has not
asked its queues for {beats.DEAF_SECONDS:g} s although Redis takes its heartbeats. Workers leave their notes in the
folder that {beats.FOLDER_VARIABLE} names, for them as for this command.
The gateway is asked for /ready or, with --alive, /health; Flower for /healthcheck.
"""


def main(arguments: list[str] | None = None, *, now: float | None = None) -> int:
    """Carry one command line out; returns the exit code. `now` is the machine's own time since its start."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        (sys.stdout if words else sys.stderr).write(_USAGE)
        return _READY if words else _MISUSED
    kind, *rest = words
    alive = "--alive" in rest
    pairs = [word for word in rest if word != "--alive"]
    options = dict(zip(pairs[::2], pairs[1::2], strict=False))
    if kind not in _OPTIONS:
        return _misused(f"{kind} is no process; name one of {', '.join(_OPTIONS)}")
    unknown = [option for option in pairs[::2] if option not in _OPTIONS[kind]]
    if unknown:
        return _misused(f"{kind} has no option {unknown[0]}")
    if len(pairs) % 2:
        return _misused(f"{pairs[-1]} lacks its value")
    if kind in _DOORS:
        port, ready_path, alive_path = _DOORS[kind]
        given = options.get("--port", str(port))
        if not given.isdecimal() or not 0 < int(given) < 65536:
            return _misused(f"--port must be a number from 1 to 65535 (it is {given!r})")
        return _answer(_why_no_door(int(given), alive_path if alive else ready_path))
    folder = os.environ.get(beats.FOLDER_VARIABLE)
    node = options.get("--name") or (options.get("--pool") if kind == beats.TOOL_BEATS else "agents")
    if not node:
        return _misused("--pool is missing; name the pool of the tool worker")
    if not folder:
        return _say(f"{beats.FOLDER_VARIABLE} is not set, here and for the worker; name a folder.\n", code=_MISUSED)
    moment = time.monotonic() if now is None else now
    return _answer(_why_no_worker(beats.place(folder, kind, node), alive=alive, now=moment))


def _why_no_worker(path: str, *, alive: bool, now: float) -> str:
    beat = beats.read(path)
    if beat is None:
        return f"there is no note in {path}: the worker has not begun to take work, or has left"
    judge = beats.why_not_alive if alive else beats.why_not_ready
    return judge(beat, now=now)


def _why_no_door(port: int, path: str) -> str:
    # http.client alone would take longer than everything here.
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_DOOR_SECONDS) as door:
            door.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            said = door.recv(200).partition(b"\r\n")[0].decode("latin-1")
    except OSError as error:
        return f"127.0.0.1:{port} does not answer: {error}"
    return "" if said.split()[1:2] == ["200"] else f"127.0.0.1:{port}{path} answers {said!r}"


def _answer(why_not: str) -> int:
    return _say(f"{why_not}\n", code=_NOT_READY) if why_not else _READY


def _misused(why: str) -> int:
    return _say(f"{_USAGE}\n{why}.\n", code=_MISUSED)


def _say(text: str, *, code: int) -> int:
    sys.stderr.write(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
