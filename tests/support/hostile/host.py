"""The machine around the sandbox, as a hostile tool would like to find it: canaries, listeners, neighbours.

It only looks afterwards whether anything was touched; it never stops a payload.
"""

# ruff: noqa: PTH208 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import ctypes
import os
import random
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.support.sandboxes import mark, marked
from tests.support.waiting import comes_true
from workers.sandbox.watching import descendants

MARK_VARIABLE = "ERRANDRY_HOSTILE_MARK"
SECRET = 'tok-"quoted"/é+4711-and-longer'
DEATH_SECONDS = 20
# Without a wall they are meant to stay.
BARE_SECONDS = 2
_HOME_FILES = (".ssh/id_ed25519", ".netrc", ".aws/credentials", ".kube/config", ".docker/config.json", ".bash_history")


class Host:
    """Made once per campaign; `targets` is what each payload is told, `harm` what it did."""

    def __init__(self, *, bare: bool) -> None:
        self._bare = bare
        self._folder = Path(tempfile.mkdtemp(prefix="errandry-hostile-", dir="/var/tmp"))
        self._folder.chmod(0o755)
        self.project = self._folder / "project"
        self.home = self._folder / "home"
        self._visits: list[str] = []
        self._sockets: list[socket.socket] = []
        self._buffer = ctypes.create_string_buffer(b"memory of the worker", 64)
        self._sleep = self._plant = ""
        self.canaries = [self._folder / "canary", Path(tempfile.mkstemp(prefix="errandry-canary-", dir="/tmp")[1])]
        self._ports = self._listening()
        self.lay_out()

    def lay_out(self) -> None:
        """Put every file into the state in which the next payload is to find it."""
        other = self._folder / "other_project"
        for folder in (self.project / ".git", self.project / ".errandry", other, self.home):
            folder.mkdir(parents=True, exist_ok=True)
        files = {self.project / name: "# the project's own\n" for name in ("app.py", "victim.py")}
        files |= {self.project / "notes.txt": "notes"}
        secretive = (".env", ".env.local", "errandry.toml", ".git/config", ".errandry/valkey.conf")
        files |= {self.project / name: "canary" for name in secretive}
        files |= {other / name: "canary" for name in (".env", "errandry.toml", "app.py")}
        files |= {self.home / name: "canary" for name in _HOME_FILES}
        files |= dict.fromkeys(self.canaries, "canary")
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
            path.chmod(0o644)
        self._files = {path: (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_mode) for path in files}
        self._entries = sorted(str(path) for path in self._folder.rglob("*"))
        self._core_pattern = Path("/proc/sys/kernel/core_pattern").read_text()

    def _listening(self) -> dict[str, Any]:
        abstract = f"errandry-{secrets.token_hex(6)}"
        path = str(self._folder / "daemon.sock")
        ports: dict[str, Any] = {"abstract": abstract, "unix_socket": path, "port6": 1}
        for name, family, kind, address in (
            ("port", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("port6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            ("open_port", socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0)),
            ("udp_port", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract),
            ("", socket.AF_UNIX, socket.SOCK_DGRAM, "\0" + abstract + "-datagrams"),
            ("", socket.AF_UNIX, socket.SOCK_STREAM, path),
        ):
            with contextlib.suppress(OSError):
                listener = socket.socket(family, kind)
                listener.bind(address)
                if kind == socket.SOCK_STREAM:
                    listener.listen(20)
                if name:
                    ports[name] = listener.getsockname()[1]
                self._sockets.append(listener)
                what = str(listener.getsockname())
                threading.Thread(target=self._count, args=(listener, kind, what), daemon=True).start()
        Path(path).chmod(0o777)
        return ports

    def _count(self, listener: socket.socket, kind: int, what: str) -> None:
        while True:
            try:
                if kind == socket.SOCK_STREAM:
                    listener.accept()[0].close()
                else:
                    listener.recv(100)
            except OSError:
                return
            self._visits.append(what)

    def targets(self, limits: dict[str, int]) -> dict[str, Any]:
        """What the next payload is told; its marks are new each time."""
        self._sleep, self._plant = mark(), f"planted-{secrets.token_hex(6)}"
        self._visits.clear()
        self._pids = [os.getpid(), *descendants(os.getpid())]
        return {
            **self._ports,
            "canaries": [str(path) for path in self.canaries],
            "other_project": str(self._folder / "other_project"),
            "project": str(self.project),
            "home": str(self.home),
            "addresses": _own_addresses(),
            "pids": self._pids[:12],
            "address": ctypes.addressof(self._buffer),
            "mark": os.environ[MARK_VARIABLE],
            # Backwards, so that the search does not find itself.
            "other_secret": os.environ[MARK_VARIABLE][::-1],
            "sleep": self._sleep,
            "plant": self._plant,
            "limits": limits,
            "bare": self._bare,
            "now": time.time(),
        }

    def harm(self) -> list[str]:
        """What is different from before the payload; an empty list if nothing is."""
        found = []
        patience = BARE_SECONDS if self._bare else DEATH_SECONDS
        if not comes_true(lambda: not marked(self._sleep), timeout_seconds=patience):
            found.append(f"{len(marked(self._sleep))} processes left")
        for path, state in self._files.items():
            if not path.exists():
                found.append(f"{path} is gone")
            elif (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_mode) != state:
                found.append(f"{path} was changed")
        entries = sorted(str(path) for path in self._folder.rglob("*"))
        found += [f"{path} is new" for path in entries if path not in self._entries]
        for folder in (
            "/",
            "/tmp",
            "/usr",
            "/usr/bin",
            "/usr/lib",
            "/etc",
            "/dev",
            "/dev/shm",
            "/var/tmp",
            "/opt",
            "/run",
        ):
            found += [f"{folder}/{name} is new" for name in _names(folder) if self._plant in name]
        found += [f"somebody came to {what}" for what in self._visits]
        if Path("/proc/sys/kernel/core_pattern").read_text() != self._core_pattern:
            found.append("the core pattern was changed")
        return found

    def put_right(self) -> None:
        """Remove what a payload without a wall has done."""
        for pid in marked(self._sleep):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
            for name in _names(folder):
                if self._plant in name:
                    with contextlib.suppress(OSError):
                        Path(folder, name).unlink()
        for name in ("planted.py", "planted_too.py"):
            (self.project / name).unlink(missing_ok=True)
        for name in ("planted_folder", "__pycache__"):
            shutil.rmtree(self.project / name, ignore_errors=True)
        for path in self._folder.rglob("*.gone"):
            path.unlink()
        self.lay_out()

    def close(self) -> None:
        """Leave nothing behind."""
        for listener in self._sockets:
            # Only a shutdown wakes the thread that waits in accept().
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for path in self.canaries:
            path.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)


def _names(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []


def _own_addresses() -> list[str]:
    """Addresses of this machine besides loopback, without asking anybody."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("192.0.2.1", 9))
        return [out.getsockname()[0]]
    return []


def fresh_mark() -> str:
    """A word that stands nowhere else."""
    return f"mark-{random.getrandbits(80):x}"
