"""The engine behind every kind of wall: one request out, one outcome back, in words that a model can act on.

It never imports a tool and never says that a call succeeded unless a full valid answer and exit status 0 say so both.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from agent_core.tools.execution import CallOutcome
from workers.sandbox.base import (
    Limits,
    Outcome,
    SandboxCall,
    SandboxLevel,
    ToolDescription,
    ToolsUnreadableError,
)
from workers.sandbox.launching import Launcher
from workers.sandbox.output import clean, cut_middle, redact
from workers.sandbox.process import Ended, Order, execute
from workers.sandbox.verdict import Verdict, judge
from workers.sandbox.wire import answer_limit_bytes, request_bytes

KEY_VARIABLE = "ERRANDRY_IDEMPOTENCY_KEY"
DESCRIBE_BYTES = 4 << 20
DESCRIBE_SECONDS = 60
_DESCRIPTION = TypeAdapter(ToolDescription)


class ProcessSandbox:
    """Runs each call in a fresh process that `command_line` puts behind its wall."""

    def __init__(
        self,
        *,
        level: SandboxLevel,
        limits: Limits,
        launcher: Launcher,
        command_line: Callable[[], tuple[Sequence[str], Mapping[str, str]]],
        tools: Sequence[str],
        project_dir: Path,
        environment: Mapping[str, str],
        secrets: Mapping[str, str],
        filters: bytes = b"",
    ) -> None:
        self._level = level
        self._walled = level is not SandboxLevel.NONE
        self._limits = limits
        self._launcher = launcher
        self._command_line = command_line
        self._tools = tuple(tools)
        self._project_dir = project_dir
        self._environment = dict(environment)
        self._secrets = dict(secrets)
        self._filters = filters
        self._source_of: dict[str, str] = {}

    @property
    def level(self) -> SandboxLevel:
        """How much this wall holds."""
        return self._level

    def close(self) -> None:
        """Kill what still runs; a repeat does nothing."""
        self._launcher.close()

    def describe(self) -> list[ToolDescription]:
        """The pool's tools, read behind the wall; raises `ToolsUnreadableError`."""
        request = request_bytes(
            "describe",
            tools=self._tools,
            project_dir=str(self._project_dir),
            environment=self._environment,
            secrets=self._secrets,
            limits=self._limits,
            walled=self._walled,
        )
        verdict = self._execute(request, wall_seconds=DESCRIBE_SECONDS, answer_bytes=DESCRIBE_BYTES)[1]
        if verdict.outcome is not CallOutcome.SUCCEEDED or verdict.answer is None:
            raise ToolsUnreadableError(self._leaving(f"The tools of this pool cannot be loaded. {verdict.content}"))
        return self._described(verdict.answer.tools)

    def _described(self, tools: list[dict[str, JsonValue]]) -> list[ToolDescription]:
        descriptions: list[ToolDescription] = []
        for tool in tools:
            source = str(tool.pop("source", ""))
            try:
                description = _DESCRIPTION.validate_json(json.dumps(tool), strict=True)
            except ValidationError as error:
                raise ToolsUnreadableError(f"{source} describes its tools in a form that is not known.") from error
            if description.name in {known.name for known in descriptions}:
                raise ToolsUnreadableError(
                    f"{self._source_of[description.name]} and {source} both give a tool named {description.name!r}; "
                    "names are unique within a pool, so rename one or take it out."
                )
            self._source_of[description.name] = source
            descriptions.append(description)
        return descriptions

    def run(self, call: SandboxCall, *, cancelled: threading.Event) -> Outcome:
        """Execute one call; see `base.Sandbox.run`."""
        known = self._source_of.get(call.tool_name)
        request = request_bytes(
            "call",
            tools=self._tools if known is None else (known,),
            project_dir=str(self._project_dir),
            environment={**self._environment, KEY_VARIABLE: call.idempotency_key},
            secrets=self._secrets,
            limits=self._limits,
            walled=self._walled,
            tool_name=call.tool_name,
            tool_args=call.tool_args,
        )
        wall = min(call.timeout_seconds or self._limits.wall_seconds, self._limits.wall_seconds)
        ended, verdict = self._execute(
            request, wall_seconds=wall, answer_bytes=answer_limit_bytes(self._limits), cancelled=cancelled
        )
        content, cut = cut_middle(self._leaving(verdict.content), self._limits.output_kb * 1024)
        streams_cut = verdict.outcome is not CallOutcome.SUCCEEDED and (
            ended.stdout.truncated or ended.stderr.truncated
        )
        return Outcome(
            outcome=verdict.outcome,
            content=content,
            exit_code=ended.exit_code,
            wall_seconds=ended.wall_seconds,
            cpu_seconds=ended.usage.cpu_seconds,
            peak_memory_mb=ended.usage.memory_bytes / (1 << 20),
            truncated=cut or streams_cut or (verdict.answer is not None and verdict.answer.truncated),
            level=self._level,
        )

    def _execute(
        self, request: bytes, *, wall_seconds: float, answer_bytes: int, cancelled: threading.Event | None = None
    ) -> tuple[Ended, Verdict]:
        argv, environment = self._command_line()
        order = Order(
            argv=argv,
            environment=environment,
            request=request,
            limits=self._limits,
            wall_seconds=wall_seconds,
            answer_bytes=answer_bytes,
            walled=self._walled,
            filters=self._filters,
        )
        ended = execute(self._launcher, order, cancelled=cancelled or threading.Event())
        ended.stdout_text = ended.stdout.text(self._secrets)
        ended.stderr_text = ended.stderr.text(self._secrets)
        return ended, judge(ended, limits=self._limits, wall_seconds=wall_seconds)

    def _leaving(self, text: str) -> str:
        return redact(clean(text), self._secrets)
