"""One worker process that throws every payload at one wall and reports what came of each, a JSON line apiece.

It runs as whoever starts it, so the same suite serves root and an ordinary user. It judges nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.support.backends import opened_exactly
from tests.support.hostile.host import MARK_VARIABLE, SECRET, Host, fresh_mark
from tests.support.hostile.rows import LIMITS, Row, rows, tools
from tests.support.sandboxes import ROOT
from workers.sandbox.base import Outcome, Sandbox, SandboxCall, SandboxUnavailableError


def observed(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What came of each payload that the plan names; first of all a line about the wall."""
    bare = plan["backend"] == "none"
    with contextlib.closing(Host(bare=bare)) as host:
        settings = {**LIMITS, "secrets": ["TOKEN"], **plan.get("settings", {})}
        variables = {"TOKEN": SECRET, "LANG": "C.UTF-8"}
        try:
            sandbox = opened_exactly(
                plan["backend"], settings, tools=tools(), project_dir=host.project, variables=variables
            )
        except SandboxUnavailableError as error:
            yield {"unavailable": str(error)}
            return
        with contextlib.closing(sandbox):
            sandbox.describe()
            user = _run(sandbox, "tell_the_user", {"targets": {}}, None).content
            yield {"level": sandbox.level, "tools_user": int(user)}
            for row in rows():
                if not plan.get("only") or row.name in plan["only"]:
                    yield _observed(sandbox, host, row, bare=bare)


def _observed(sandbox: Sandbox, host: Host, row: Row, *, bare: bool) -> dict[str, Any]:
    targets = host.targets(LIMITS)
    seen: dict[str, Any] = {"name": row.name}
    started_at = time.monotonic()
    try:
        outcome = _run(sandbox, row.tool, {"targets": targets, **row.arguments}, row.timeout_seconds)
        seen |= _words(outcome)
        if row.then:
            seen["then"] = _words(_run(sandbox, row.then, {"targets": targets}, None))
    except Exception as error:
        seen["error"] = f"{type(error).__name__}: {error}"
    seen["took_seconds"] = time.monotonic() - started_at
    seen["harm"] = host.harm()
    if bare or seen["harm"]:
        host.put_right()
    try:
        # A quick honest call shows that the wall is as it was before.
        seen["next"] = _run(sandbox, "answer_in_many_scripts", {"targets": {}}, None).content
    except Exception as error:
        seen["next"] = f"{type(error).__name__}: {error}"
    return seen


def _run(sandbox: Sandbox, tool: str, arguments: dict[str, Any], timeout_seconds: float | None) -> Outcome:
    call = SandboxCall(tool, arguments, idempotency_key="run_1:2:call_3", timeout_seconds=timeout_seconds)
    return sandbox.run(call, cancelled=threading.Event())


def _words(outcome: Outcome) -> dict[str, Any]:
    middle = " bytes cut out here " if "bytes cut out here" in outcome.content else ""
    long = len(outcome.content) > 5000
    return {
        "outcome": outcome.outcome,
        "content": outcome.content[:2500] + middle + outcome.content[-2500:] if long else outcome.content,
        "bytes": len(outcome.content.encode()),
        "secret": any(part in outcome.content for part in (SECRET, SECRET[:8], "4711-and")),
        "exit_code": outcome.exit_code,
        "wall_seconds": outcome.wall_seconds,
        "cpu_seconds": outcome.cpu_seconds,
        "peak_memory_mb": outcome.peak_memory_mb,
        "truncated": outcome.truncated,
        "level": outcome.level,
        "cgroup": outcome.detail.get("cgroup"),
    }


def report(plan: dict[str, Any], *, timeout_seconds: float) -> list[dict[str, Any]]:
    """The whole campaign in a worker process of its own; what the wall is comes first, then one entry per payload."""
    # Only what a process is started with stands in its /proc/PID/environ, where a payload looks for the mark.
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile.campaign", json.dumps(plan)],
        env={**os.environ, MARK_VARIABLE: fresh_mark()},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout_seconds,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """The plan is the first argument, as JSON: a backend, settings, and the names of payloads or none for all."""
    os.environ.setdefault(MARK_VARIABLE, fresh_mark())
    for line in observed(json.loads(sys.argv[1])):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
