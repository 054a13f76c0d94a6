"""The child's side of the wall: takes one request, loads the pool's tools, calls one of them, answers once.

It never sees the worker's environment, a model or the store. A tool finds here: the project, read-only, as current
folder and first on `sys.path`; `/tmp` (also HOME) to write to; `ERRANDRY_IDEMPOTENCY_KEY`, the same in every attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import io
import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent_core.errors import ErrandryError
from agent_core.registry import functions_of, load_object
from agent_core.tools.context import RunContext
from agent_core.tools.execution import encode_result
from agent_core.tools.function import Function
from workers.sandbox.output import clean, cut_middle, redact

REQUEST_FD = 3
ANSWER_FD = 4
ERROR_BYTES = 16 * 1024
OPEN_FILES = 256
# Libraries reserve far more addresses than they use; the limit that counts is the supervisor's watch over real use.
ADDRESS_SPACE_FACTOR = 4
LEAST_ADDRESS_SPACE_MB = 1024

Request = dict[str, Any]
Answer = dict[str, object]


def main() -> None:
    """Serve the one request of this process and end it; only the process that read the request may answer it."""
    with open(REQUEST_FD, "rb") as stream:
        request: Request = json.load(stream)
    os.set_inheritable(ANSWER_FD, False)
    owner = os.getpid()
    confine(request["limits"], walled=request["walled"])
    os.environ.update(request["environment"])
    os.environ.update(request["secrets"])
    sys.path.insert(0, request["project_dir"])
    try:
        answer = {"describe": _describe, "call": _call}[request["verb"]](request)
    except SystemExit as error:
        _end(_status_of(error))
    except BaseException as error:
        answer = _failure(explain(error, request["limits"]))
    if os.getpid() != owner:
        _end(1)
    _give(_sealed(answer, request))
    _end(0)


def confine(limits: Mapping[str, Any], *, walled: bool) -> None:
    """Lower this process's limits for good; the tool's code is not loaded yet."""
    memory = max(limits["memory_mb"] * ADDRESS_SPACE_FACTOR, LEAST_ADDRESS_SPACE_MB) << 20
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: limits["disk_mb"] << 20,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CPU: int(limits["cpu_seconds"]) + 1,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if walled:
        # Counted within the namespace, whose reaper counts as well; without one it would count all that this user runs.
        wanted[resource.RLIMIT_NPROC] = limits["pids"] + 1
    for which, limit in wanted.items():
        hard = resource.getrlimit(which)[1]
        lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (lowest, lowest))
    # If this machine runs short of memory, the tool goes first.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def tools_of(import_strings: Sequence[str]) -> list[tuple[str, Function]]:
    """Every tool of the import strings with the string it came from; `ImportStringError` if one gives none."""
    return [(source, tool) for source in import_strings for tool in functions_of(load_object(source), source)]


def _describe(request: Request) -> Answer:
    described = []
    for source, tool in tools_of(request["tools"]):
        described.append(
            {
                "source": source,
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "timeout_seconds": tool.timeout_seconds,
                "max_attempts": tool.max_attempts,
                "backoff_seconds": tool.backoff_seconds,
                "on_lost": tool.on_lost,
                "external_execution": tool.external_execution,
            }
        )
    return {"ok": True, "content": "", "truncated": False, "tools": described}


def _call(request: Request) -> Answer:
    name = request["tool_name"]
    tool = next((tool for _, tool in tools_of(request["tools"]) if tool.name == name), None)
    if tool is None:
        return _failure(f"This pool has no tool named {name!r}.")
    context = RunContext.from_idempotency_key(request["environment"]["ERRANDRY_IDEMPOTENCY_KEY"])
    result = tool.call(request["tool_args"], context=context)
    if inspect.isawaitable(result):
        result = asyncio.run(_finished(result))
    try:
        content = encode_result(result, tool_name=name)
    except TypeError as error:
        return _failure(str(error))
    return {"ok": True, "content": content, "truncated": False, "tools": []}


async def _finished(result: Any) -> object:
    return await result


def _failure(words: str) -> Answer:
    return {"ok": False, "content": words, "truncated": False, "tools": []}


def explain(error: BaseException, limits: Mapping[str, Any]) -> str:
    """What the model reads of an exception: its name, its words and the limit behind it, without a traceback."""
    if isinstance(error, ErrandryError):
        return str(error)
    words = f"{type(error).__name__}: {_words_of(error)}".removesuffix(": ")
    if isinstance(error, MemoryError):
        return f"{words} (the tool may use {limits['memory_mb']} MiB of memory)"
    hints = {
        errno.EAGAIN: f"the tool may start {limits['pids']} processes and threads",
        errno.ENOSPC: f"the tool may write {limits['disk_mb']} MiB to /tmp",
        errno.EFBIG: f"the tool may write {limits['disk_mb']} MiB to /tmp",
        errno.EROFS: "only /tmp can be written to",
    }
    hint = hints.get(error.errno or 0) if isinstance(error, OSError) else None
    if isinstance(error, RuntimeError) and "can't start new thread" in words:
        hint = hints[errno.EAGAIN]
    return f"{words} ({hint})" if hint else words


def _words_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be shown)"


def _status_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{_words_of(error)}\n")
    return 1


def _sealed(answer: Answer, request: Request) -> bytes:
    """The answer as bytes: without secrets first, then cut, so that no cut can halve a secret and hide it."""
    limit = request["limits"]["output_kb"] * 1024 if answer["ok"] else ERROR_BYTES
    content, cut = cut_middle(redact(str(answer["content"]), request["secrets"]), limit)
    sealed = {**answer, "content": clean(content), "truncated": cut}
    return json.dumps(sealed, ensure_ascii=False).encode("utf-8", "replace")


def _give(answer: bytes) -> None:
    rest = memoryview(answer)
    while rest:
        rest = rest[os.write(ANSWER_FD, rest) :]


def _end(status: int) -> None:
    """End at once: threads that the tool left behind must not keep the call waiting."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            if isinstance(stream, io.TextIOBase):
                stream.flush()
    os._exit(status)
