"""The call's side of the wall: says that it is ready, takes one request, calls one tool, answers once.

It never sees the worker's environment, a model or the store. A tool finds here: the project, read-only, as current
folder and first on `sys.path`; `/tmp` (also HOME) to write to; `ERRANDRY_IDEMPOTENCY_KEY`, the same in every attempt.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

from agent_core.errors import ErrandryError
from agent_core.registry import functions_of, load_object
from agent_core.tools.context import RunContext
from agent_core.tools.execution import encode_result
from agent_core.tools.function import Function
from workers.sandbox.confinement import ANSWER_FD, READY, REQUEST_FD, Plan, confine
from workers.sandbox.looking import look
from workers.sandbox.output import clean, cut_middle, redact
from workers.sandbox.packing import open_workspace, pack_workspace

ERROR_BYTES = 16 * 1024
_TO_JSON = json.JSONEncoder(ensure_ascii=False).encode

Request = dict[str, Any]
Answer = dict[str, object]
Loaded = Mapping[str, Sequence[Function]]


def main() -> None:
    """Serve the one request of a process of its own, which has no wall but the kernel's limits, and end it."""
    for fd in (REQUEST_FD, ANSWER_FD):
        os.set_inheritable(fd, False)
    os._exit(serve(None, unwalled=True))


def serve(loaded: Loaded | None, *, unwalled: bool = False) -> int:
    """Say that the wall stands, take the request, answer it and return the status to end with.

    An empty request asks for nothing. Only the process that read it may answer. What was `loaded` before the fork is
    not loaded again.
    """
    os.write(ANSWER_FD, READY)
    with os.fdopen(REQUEST_FD, "rb") as stream:
        raw = stream.readline()
        if not raw:
            return 0
        request: Request = json.loads(raw)
        if unwalled:
            _limit(request)
        owner = os.getpid()
        for name, value in (*request["environment"].items(), *request["secrets"].items()):
            os.environ[name] = value
        if request.get("live"):
            _write_lines()
        try:
            workspace = _workspace(request, stream)
        except (OSError, tarfile.TarError) as error:
            words = f"The workspace of this run cannot be restored: {explain(error, request['limits'])}"
            _give(_sealed(_failure(words), request))
            return _flushed(0)
    if loaded is None:
        sys.path.insert(0, request["project_dir"])
    try:
        answer = _VERBS[request["verb"]](request, loaded)
    except SystemExit as error:
        return _flushed(_status_of(error))
    except BaseException as error:
        answer = _failure(explain(error, request["limits"]))
    if os.getpid() != owner:
        return _flushed(1)
    _give(_sealed(answer, request))
    if workspace is not None:
        _give(b"\n")
        with os.fdopen(os.dup(ANSWER_FD), "wb") as stream:
            pack_workspace(workspace, stream, own_processes=request["workspace"]["own_processes"])
    return _flushed(0)


def _workspace(request: Request, stream: IO[bytes]) -> str | None:
    """The folder of the run's workspace, filled with what follows the request's line; None if the pool keeps none."""
    wanted = request.get("workspace")
    if wanted is None:
        return None
    return open_workspace(wanted["place"], stream if wanted["archive"] else None)


def _write_lines() -> None:
    """Let each line that the tool prints go out at once; into a pipe Python writes only when some kB have come."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def _limit(request: Request) -> None:
    plan = Plan(
        steps=("resources",), limits=request["limits"], project_dir=request["project_dir"], counted_processes=False
    )
    confine(plan)
    with contextlib.suppress(OSError):
        confine(replace(plan, steps=("first_to_go",)))


def tools_of(import_strings: Sequence[str]) -> list[tuple[str, Function]]:
    """Every tool of the import strings with the string it came from; `ImportStringError` if one gives none."""
    return [(source, tool) for source in import_strings for tool in functions_of(load_object(source), source)]


def _known(request: Request, loaded: Loaded | None) -> list[tuple[str, Function]]:
    if loaded is None:
        return tools_of(request["tools"])
    return [(source, tool) for source in request["tools"] for tool in loaded[source]]


def _probe(request: Request, _: Loaded | None) -> Answer:
    return {"ok": True, "content": json.dumps(look(request["asked"])), "truncated": False, "tools": []}


def _describe(request: Request, loaded: Loaded | None) -> Answer:
    described = []
    for source, tool in _known(request, loaded):
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


def _call(request: Request, loaded: Loaded | None) -> Answer:
    name = request["tool_name"]
    tool = next((tool for _, tool in _known(request, loaded) if tool.name == name), None)
    if tool is None:
        return _failure(f"This pool has no tool named {name!r}.")
    context = RunContext.from_idempotency_key(request["environment"]["ERRANDRY_IDEMPOTENCY_KEY"])
    result = tool.call(request["tool_args"], context=context)
    if not isinstance(result, str) and inspect.isawaitable(result):
        result = _awaited(result)
    try:
        content = encode_result(result, tool_name=name)
    except TypeError as error:
        return _failure(str(error))
    return {"ok": True, "content": content, "truncated": False, "tools": []}


_VERBS: dict[str, Callable[[Request, Loaded | None], Answer]] = {
    "describe": _describe,
    "call": _call,
    "probe": _probe,
}


def _awaited(result: Any) -> object:
    # Only here: tools that are async by their look have their loop made by `Function.call`.
    import asyncio  # noqa: PLC0415

    async def finished() -> object:
        return await result

    return asyncio.run(finished())


def _failure(words: str) -> Answer:
    return {"ok": False, "content": words, "truncated": False, "tools": []}


def explain(error: BaseException, limits: Mapping[str, Any]) -> str:
    """What the model reads of an exception: its name, its words and the limit behind it, without a traceback."""
    if isinstance(error, ErrandryError):
        return str(error)
    words = f"{type(error).__name__}: {_words_of(error)}".removesuffix(": ")
    if isinstance(error, MemoryError):
        return f"{words} (the tool may use {limits['memory_mb']} MiB of memory)"
    kept = f", and {limits['workspace_mb']} MiB to the workspace" if limits["workspace_mb"] else ""
    hints = {
        errno.EAGAIN: f"the tool may start {limits['pids']} processes and threads",
        errno.ENOSPC: f"the tool may write {limits['disk_mb']} MiB and {limits['inodes']} files to /tmp{kept}",
        errno.EFBIG: f"a file may grow to {limits['file_mb']} MiB",
        errno.EMFILE: f"the tool may have {limits['open_files']} files open",
        errno.EROFS: f"only /tmp{' and the workspace' if kept else ''} can be written to",
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
    return _TO_JSON(sealed).encode("utf-8", "replace")


def _give(answer: bytes) -> None:
    rest = memoryview(answer)
    while rest:
        rest = rest[os.write(ANSWER_FD, rest) :]


def _flushed(status: int) -> int:
    """The status, after what the tool printed is written; threads that it left behind are not waited for."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            if isinstance(stream, io.TextIOBase):
                stream.flush()
    return status
