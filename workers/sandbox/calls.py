"""The engine behind every kind of wall: one request out, one outcome back, in words that a model can act on.

It never imports a tool and never says that a call succeeded unless a full valid answer and exit status 0 say so both.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from agent_core.telemetry import emit
from agent_core.tools.execution import CallOutcome
from workers.sandbox.base import (
    Limits,
    Outcome,
    SandboxCall,
    SandboxError,
    SandboxLevel,
    ToolDescription,
    ToolsUnreadableError,
)
from workers.sandbox.cgroups import CallGroups
from workers.sandbox.children import Child, Children
from workers.sandbox.egress.inside import proxy_environment
from workers.sandbox.egress.proxy import EgressProxy
from workers.sandbox.launching import Launcher
from workers.sandbox.live import LiveOutput
from workers.sandbox.output import clean, cut_middle, redact
from workers.sandbox.process import Ended, Order, execute
from workers.sandbox.references import SecretUnavailableError
from workers.sandbox.verdict import Status, Verdict, judge
from workers.sandbox.ways_out import way_out
from workers.sandbox.wire import answer_limit_bytes, request_bytes
from workers.sandbox.workspace import Workspace, WorkspaceStore, carried, not_kept, run_of

KEY_VARIABLE = "ERRANDRY_IDEMPOTENCY_KEY"
ATTEMPTS = 3
DESCRIBE_BYTES = 4 << 20
DESCRIBE_SECONDS = 60
_DESCRIPTION = TypeAdapter(ToolDescription)


class ProcessSandbox:
    """Hands each call to a process of its own that `children` give, and says how it ended.

    `secrets` are asked for at each call; `detail` is what every result is reported with; `described` is told when the
    tools were read.
    """

    def __init__(
        self,
        *,
        level: SandboxLevel,
        limits: Limits,
        launcher: Launcher | None,
        children: Children,
        tools: Sequence[str],
        project_dir: Path,
        environment: Mapping[str, str],
        secrets: Callable[[], Mapping[str, str]],
        groups: CallGroups | None = None,
        proxy: EgressProxy | None = None,
        workspaces: WorkspaceStore | None = None,
        detail: Mapping[str, JsonValue] | None = None,
        gaps: Sequence[str] = (),
        pool_name: str = "",
        described: Callable[[], None] | None = None,
    ) -> None:
        self._level = level
        self._counted = level not in (SandboxLevel.NONE, SandboxLevel.LANDLOCK)
        self._limits = limits
        self._launcher = launcher
        self._children = children
        self._tools = tuple(tools)
        self._project_dir = project_dir
        self._environment = {**environment, **(proxy_environment() if proxy is not None else {})}
        self._secrets = secrets
        self._groups = groups
        self._proxy = proxy
        self._workspaces = workspaces
        self._detail = dict(detail or {})
        self._gaps = tuple(gaps)
        self._pool_name = pool_name
        self._when_described = described
        self._source_of: dict[str, str] = {}

    @property
    def level(self) -> SandboxLevel:
        """How much this wall holds."""
        return self._level

    @property
    def gaps(self) -> tuple[str, ...]:
        """What this wall leaves open, in words."""
        return self._gaps

    def close(self) -> None:
        """Kill what still runs; a repeat does nothing."""
        self._children.close()
        if self._launcher is not None:
            self._launcher.close()
        if self._groups is not None:
            self._groups.close()
        if self._proxy is not None:
            self._proxy.close()

    def describe(self) -> list[ToolDescription]:
        """The pool's tools, read behind the wall; raises `ToolsUnreadableError`."""
        secrets = self._secrets()
        request = request_bytes(
            "describe",
            tools=self._tools,
            project_dir=str(self._project_dir),
            environment=self._environment,
            secrets=secrets,
            limits=self._limits,
        )
        order = self._order(request, wall_seconds=DESCRIBE_SECONDS, answer_bytes=DESCRIBE_BYTES)
        child = self._children.take()
        with way_out(self._proxy, child, {}):
            _, verdict = self._execute(child, order, secrets, cancelled=threading.Event())
        if verdict.outcome is not CallOutcome.SUCCEEDED or verdict.answer is None:
            words = f"The tools of this pool cannot be loaded. {verdict.content}"
            raise ToolsUnreadableError(_leaving(words, secrets))
        descriptions = self._described(verdict.answer.tools)
        if self._when_described is not None:
            self._when_described()
        return descriptions

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
        try:
            secrets = self._secrets()
        except SecretUnavailableError as error:
            return self._unbegun(CallOutcome.FAILED, Status.TOOL_ERROR, str(error))
        if self._workspaces is None:
            return self._run(call, secrets, None, cancelled=cancelled)
        with self._workspaces.hold(run_of(call.idempotency_key), self._level, cancelled=cancelled) as workspace:
            if workspace is None:
                words = "The call was cancelled while it waited for another call of this run to be done."
                return self._unbegun(CallOutcome.CANCELLED, Status.CANCELLED, words)
            return self._run(call, secrets, workspace, cancelled=cancelled)

    def _unbegun(self, outcome: CallOutcome, status: Status, words: str) -> Outcome:
        """The outcome of a call for which nothing was started."""
        return Outcome(
            outcome=outcome,
            content=words,
            exit_code=None,
            wall_seconds=0,
            cpu_seconds=0,
            peak_memory_mb=None,
            truncated=False,
            level=self._level,
            detail={**self._detail, "status": status.value},
        )

    def _run(
        self,
        call: SandboxCall,
        secrets: Mapping[str, str],
        workspace: Workspace | None,
        *,
        cancelled: threading.Event,
    ) -> Outcome:
        known = self._source_of.get(call.tool_name)
        request = request_bytes(
            "call",
            tools=self._tools if known is None else (known,),
            project_dir=str(self._project_dir),
            environment={**self._environment, KEY_VARIABLE: call.idempotency_key},
            secrets=secrets,
            limits=self._limits,
            tool_name=call.tool_name,
            tool_args=call.tool_args,
            workspace=workspace.described() if workspace is not None else None,
            live=call.tell is not None,
        )
        wall = min(call.timeout_seconds or self._limits.wall_seconds, self._limits.wall_seconds)
        live = None
        if call.tell is not None:
            live = LiveOutput(call.tell, secrets=secrets, limit_bytes=self._limits.stdout_kb * 1024)
        order = self._order(request, wall_seconds=wall, answer_bytes=answer_limit_bytes(self._limits), live=live)
        for attempt in range(ATTEMPTS):
            child = self._child()
            reported = {**child.reported, "spare": child.spare}
            with way_out(self._proxy, child, reported), carried(order, workspace) as full_order:
                ended, verdict = self._execute(child, full_order, secrets, cancelled=cancelled)
            # Its zygote went away before it read a word: nothing was begun, so nothing is repeated.
            if ended.begun or attempt + 1 == ATTEMPTS:
                break
        if live is not None:
            live.close()
        if workspace is not None and verdict.answer is not None:
            workspace.keep()
            if workspace.problem:
                verdict = not_kept(verdict, workspace.problem)
        content, cut = cut_middle(_leaving(verdict.content, secrets), self._limits.output_kb * 1024)
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
            detail={
                **self._detail,
                **reported,
                "status": verdict.status.value,
                "cpu_user_seconds": round(ended.cpu_user_seconds, 6),
                "cpu_system_seconds": round(ended.cpu_system_seconds, 6),
            },
            arguments=_leaving(json.dumps(call.tool_args, ensure_ascii=False), secrets) if call.shows_arguments else "",
        )

    def _child(self) -> Child:
        """A process for a call, of which operators are told; also of one that is not to be had."""
        try:
            child = self._children.take()
        except (SandboxError, OSError):
            emit("sandbox.refused", pool=self._pool_name, reason="process")
            raise
        emit("sandbox.started", pool=self._pool_name, sandbox_level=self._level.value)
        return child

    def _order(
        self, request: bytes, *, wall_seconds: float, answer_bytes: int, live: LiveOutput | None = None
    ) -> Order:
        return Order(
            request=request,
            limits=self._limits,
            wall_seconds=wall_seconds,
            answer_bytes=answer_bytes,
            counted=self._counted,
            live=live,
        )

    def _execute(
        self, child: Child, order: Order, secrets: Mapping[str, str], *, cancelled: threading.Event
    ) -> tuple[Ended, Verdict]:
        ended = execute(child, order, cancelled=cancelled)
        ended.stdout_text = ended.stdout.text(secrets)
        ended.stderr_text = ended.stderr.text(secrets)
        return ended, judge(ended, limits=self._limits, wall_seconds=order.wall_seconds)


def _leaving(text: str, secrets: Mapping[str, str]) -> str:
    return redact(clean(text), secrets)
