"""A real systemd in namespaces of its own, over this machine's files: for trying units as they are written.

It writes nothing outside its folder and its own control group, and is gone with all that it started when it is closed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import comes_true, wait_until

ROOT = Path(__file__).parents[2]
_BOOT = Path(__file__).with_name("systemd_boot.sh")
_SYSTEMD = Path("/lib/systemd/systemd")
_PROGRAMS = (
    "unshare",
    "setpriv",
    "nsenter",
    "mount",
    "pivot_root",
    "chroot",
    "systemctl",
    "systemd-sysusers",
    "ldconfig",
)
_BOOTED = """[Unit]
Description=A host to try units on
DefaultDependencies=no
"""


def why_not() -> str:
    """Why no systemd can be booted here, empty if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "booting a systemd needs Linux and root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    missing += [] if _SYSTEMD.exists() else [str(_SYSTEMD)]
    if missing:
        return f"booting a systemd needs {', '.join(missing)}"
    if "overlay" not in Path("/proc/filesystems").read_text() or _unified_groups() is None:
        return "booting a systemd needs overlayfs and control groups of version 2"
    return ""


class SystemdHost:
    """A booted systemd; `files` (place -> text) lie over this machine's own."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self._folder = folder
        groups = _unified_groups()
        assert groups is not None
        self._group = groups / f"errandry-units-{uuid.uuid4().hex[:8]}"
        self._process: subprocess.Popen[bytes] | None = None
        self.out = folder / "out"
        for place, text in {"etc/systemd/system/booted.target": _BOOTED, **files}.items():
            path = folder / "root-files" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)

    def __enter__(self) -> Self:
        self.out.mkdir()
        self.out.chmod(0o1777)
        self._group.mkdir()
        words = [str(self._folder), sys.base_prefix, Path(os.path.realpath(sys.executable)).name]
        words += [sysconfig.get_path("purelib"), str(ROOT)]
        # Whatever ends this process ends the host.
        namespaces = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--cgroup",
            "--uts",
            "--ipc",
            "--kill-child",
        ]
        command = [*namespaces, "sh", str(_BOOT), *words]
        with (self._folder / "boot.log").open("wb") as log:
            self._process = subprocess.Popen(
                # The group first: its namespace begins where the process is.
                ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._group / "cgroup.procs"), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._has_booted, "systemd has booted", timeout_seconds=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        # Whoever is first process of the namespace takes all others along.
        first = self._first_process()
        if first is not None:
            os.kill(first, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        assert comes_true(self._removed_group, timeout_seconds=10), f"{self._group} is not empty"

    def systemctl(self, *words: str, timeout_seconds: float = 120) -> str:
        """What systemctl says; fails if it fails."""
        done = self._within("systemctl", *words, timeout_seconds=timeout_seconds)
        assert done.returncode == 0, f"systemctl {' '.join(words)}: {done.stdout}{done.stderr}\n{self.said()}"
        return done.stdout.strip()

    def state(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self._within("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def run(self, *words: str) -> str:
        """What a command of root says on that host, whatever it comes to."""
        done = self._within(*words)
        return done.stdout + done.stderr

    def said(self) -> str:
        """What the units have said, file by file."""
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')}" for file in sorted(self.out.iterdir()))

    def _within(self, *words: str, timeout_seconds: float = 60) -> subprocess.CompletedProcess[str]:
        first = self._first_process()
        assert first is not None, (self._folder / "boot.log").read_text(errors="replace")
        return subprocess.run(
            ["nsenter", f"--target={first}", "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--wd", *words],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def _has_booted(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "boot.log").read_text(errors="replace")
        if self._first_process() is None:
            return False
        return self._within("systemctl", "is-active", "booted.target").stdout.strip() == "active"

    def _first_process(self) -> int | None:
        assert self._process is not None
        try:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            command = Path(f"/proc/{children[0]}/comm").read_text().strip() if children else ""
        except FileNotFoundError:
            return None
        return int(children[0]) if command == "systemd" else None

    def _removed_group(self) -> bool:
        for place in sorted((entry for entry in self._group.rglob("*") if entry.is_dir()), reverse=True):
            _try_to_remove(place)
        return _try_to_remove(self._group)


def _try_to_remove(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _unified_groups() -> Path | None:
    """Where control groups of version 2 are mounted, and may be made."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            place = Path(before.split()[4])
            return place if os.access(place, os.W_OK) else None
    return None
