"""The parts of a step: which of its calls go to which pool, at once or once a person has approved them, and which wait
for a person's answer; publishes nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_core.tools.execution import ToolExecution
from queues import keys
from queues.envelopes import call_envelope
from queues.protocol import CallRequest, due_member, unapproved_member
from queues.timing import milliseconds
from queues.topology import Lane
from queues.tracing import traceparent_here

if TYPE_CHECKING:  # producers render approved calls, and need none of what a tool brings along
    from agent_core.tools.function import Function


@dataclass(frozen=True)
class Routing:
    """Which pool executes a tool, by the tool's name, and how long its calls may wait there (left out: for ever).

    An external tool without a pool waits for a person. The pools in `approvals` execute a call only once a person has
    approved it, who may take so long (None: as long as the run waits for people).
    """

    pools: Mapping[str, str]
    queue_seconds: Mapping[str, float]
    approvals: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """The calls of one step that one pool executes, or that people answer (`pool` is None).

    With `needs_approval` they lie where no pool may touch them until a person has approved each; see `approved`.
    """

    pool: str | None
    run_id: str
    step: int
    lane: Lane
    parent_id: str
    calls: tuple[CallRequest, ...]
    queue_seconds: float | None = None
    needs_approval: bool = False
    approval_seconds: float | None = None

    @property
    def key(self) -> str:
        if self.pool is None:
            return keys.people(self.run_id, self.step)
        if self.needs_approval:
            return keys.approvals(self.pool, self.run_id, self.step)
        return keys.part(self.pool, self.run_id, self.step)

    def render(self, agent: str) -> dict[str, object]:
        """The part as `hand_out` of the scripts wants it, with the messages of its calls ready-made."""
        rendered: dict[str, object] = {
            "key": self.key,
            "agent": agent,
            "calls": [self._render_call(call) for call in self.calls],
        }
        if self.lane != "normal":
            rendered["lane"] = self.lane
        if self.pool is not None:
            rendered["due"] = keys.pool_due(self.pool)
        if self.parent_id != self.run_id:
            # Whoever publishes a call again lets it hang under the same task.
            rendered["stretch"] = self.parent_id.removeprefix(f"{self.run_id}:")
        if self.queue_seconds is not None:
            rendered["queue_ms"] = milliseconds(self.queue_seconds)
        if self.pool is not None and self.needs_approval:
            approval: dict[str, object] = {"key": keys.part(self.pool, self.run_id, self.step)}
            if self.approval_seconds is not None:
                approval |= {"unapproved": keys.UNAPPROVED, "ms": milliseconds(self.approval_seconds)}
            rendered["approval"] = approval
        return rendered

    def _render_call(self, call: CallRequest) -> dict[str, str]:
        rendered = {"id": call.tool_call_id, "request": call.stored()}
        if self.pool is not None:
            ids = (call.run_id, call.step, call.tool_call_id)
            envelope = call_envelope(self.pool, call.tool_name, ids, self.lane, parent_id=self.parent_id)
            rendered |= {
                "queue": envelope.queue,
                "message": envelope.render(),
                "due_member": due_member(*ids, call.tool_name),
            }
            if self.approval_seconds is not None:
                rendered["unapproved"] = unapproved_member(self.pool, *ids, call.tool_name)
        return rendered


def parts_of(
    run_id: str,
    calls: Sequence[ToolExecution],
    *,
    functions: Mapping[str, Function],
    routing: Routing,
    lane: Lane,
    parent_id: str,
) -> list[Part]:
    """One part for each pool among the calls, and one for the calls that people answer.

    A call with `requires_approval` waits for a person first, whatever `routing` says of its pool by now.
    """
    groups: dict[tuple[str | None, bool], list[ToolExecution]] = {}
    for call in calls:
        pool = call.pool if call.external_execution_required else None
        groups.setdefault((pool, call.requires_approval), []).append(call)
    return [
        Part(
            pool=pool,
            run_id=run_id,
            step=members[0].step,
            lane=lane,
            parent_id=parent_id,
            calls=tuple(_request(run_id, call, functions[call.tool_name]) for call in members),
            queue_seconds=routing.queue_seconds.get(pool or ""),
            needs_approval=needs_approval,
            approval_seconds=routing.approvals.get(pool or "") if needs_approval else None,
        )
        for (pool, needs_approval), members in groups.items()
    ]


def _request(run_id: str, call: ToolExecution, function: Function) -> CallRequest:
    return CallRequest(
        run_id=run_id,
        step=call.step,
        tool_call_id=call.tool_call_id,
        tool_name=call.tool_name,
        tool_args=call.tool_args,
        timeout_seconds=function.timeout_seconds,
        max_attempts=function.max_attempts,
        backoff_seconds=function.backoff_seconds,
        on_lost=function.on_lost,
        traceparent=traceparent_here(),
    )
