"""Every backend and level behind the one seam, by name, for suites that hold them all to the same contract.

A wall that this machine cannot put up skips the test with the machine's own words; a refusal without a known reason
fails it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from queues.settings import SandboxSettings
from tests.support.container_image import NAME, engine_with_image
from tests.support.sandboxes import MODULE, ROOT, tool_names
from workers.sandbox.base import Sandbox, SandboxLevel, SandboxUnavailableError
from workers.sandbox.opening import open_sandbox
from workers.sandbox.probe import REMEDIES
from workers.sandbox.references import Secrets
from workers.sandbox.walls import Pool, open_wall

BACKENDS = ("ns", "shared", "landlock", "container", "process")
TOOLS = tuple(f"{MODULE}:{tool}" for tool in tool_names())
_ASKED: dict[str, dict[str, Any]] = {
    "container": {"backend": "container", "image": NAME},
    "process": {"backend": "process", "level": "none"},
    "none": {"level": "none"},
}


def opened_exactly(
    backend: str, settings: Mapping[str, Any], *, tools: Sequence[str], project_dir: Path, variables: Mapping[str, str]
) -> Sandbox:
    """A sandbox of exactly this kind, also where the machine could put up a better one."""
    asked = SandboxSettings.model_validate({**_ASKED.get(backend, {"level": backend}), **settings})
    if backend not in ("shared", "landlock"):
        return open_sandbox(asked, tools=tools, project_dir=project_dir, environment=variables)
    passed = {name: variables[name] for name in asked.env if name in variables} | asked.set_env
    pool = Pool(asked, tuple(tools), project_dir, passed, Secrets(asked.secrets, variables))
    return open_wall(pool, SandboxLevel(backend))


def open_backend(
    backend: str,
    *,
    tools: Sequence[str] = TOOLS,
    project_dir: Path = ROOT,
    variables: Mapping[str, str] | None = None,
    **settings: Any,
) -> Sandbox:
    """The same for tests, which are skipped where it cannot be had for a reason that lies in the machine."""
    if backend == "container":
        engine_with_image()
    known = os.environ if variables is None else variables
    try:
        return opened_exactly(backend, settings, tools=tools, project_dir=project_dir, variables=known)
    except SandboxUnavailableError as error:
        skip_if_the_machine_is_to_blame(backend, str(error))
        raise


def skip_if_the_machine_is_to_blame(backend: str, words: str) -> None:
    """Skips the test if the refusal names a known reason, or if it is the one that has no words of its own yet."""
    closed = os.geteuid() == 0 and not Path(os.path.realpath("/proc/self/exe")).parents[-3].stat().st_mode & 0o001
    if any(remedy in words for remedy in REMEDIES.values()) or (backend == "landlock" and closed):
        pytest.skip(words)
