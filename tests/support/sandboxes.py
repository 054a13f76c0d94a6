"""Sandboxes for tests: opening them for the tools of `sandbox_tools`, calling one tool, finding processes by a mark.

It never imports those tools: they are strangers' code.
"""

import ast
import random
import threading
from pathlib import Path

from pydantic import JsonValue

from queues.settings import SandboxSettings
from workers.sandbox.base import Outcome, Sandbox, SandboxCall
from workers.sandbox.opening import open_sandbox

ROOT = Path(__file__).parents[2]
MODULE = "tests.support.sandbox_tools"


def tool_names() -> list[str]:
    """The names of all tools in the module, read from its text."""
    tree = ast.parse((Path(__file__).parent / "sandbox_tools.py").read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def opened(settings: SandboxSettings | None = None, *, project_dir: Path = ROOT, **variables: str) -> Sandbox:
    """A sandbox with all the test tools; `variables` stand for the worker's environment."""
    return open_sandbox(
        settings or SandboxSettings(),
        tools=[f"{MODULE}:{name}" for name in tool_names()],
        project_dir=project_dir,
        environment=variables or None,
    )


def run(
    sandbox: Sandbox,
    tool_name: str,
    *,
    timeout_seconds: float | None = None,
    cancelled: threading.Event | None = None,
    **tool_args: JsonValue,
) -> Outcome:
    """Call one tool and wait for its outcome."""
    call = SandboxCall(tool_name, tool_args, idempotency_key="run_1:2:call_3", timeout_seconds=timeout_seconds)
    return sandbox.run(call, cancelled=cancelled or threading.Event())


def mark() -> str:
    """A number of seconds by which `sleep MARK` can be found among all processes of this machine."""
    return f"{random.randrange(10**8, 10**9)}"


def marked(mark: str) -> list[int]:
    """The processes with the mark among their arguments, in whatever namespace they live."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words and words[0].endswith(b"sleep"):
            found.append(int(folder.name))
    return found
