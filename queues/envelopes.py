"""Renders Celery messages that scripts push themselves; never talks to a broker.

A script that stores a result and pushes the next message in one step needs the message ready-made. What is
rendered here equals what Kombu 5.7 pushes for the same task (held by a test), down to the body encoding.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from queues.topology import Lane, agent_task, agents_queue, pool_queue, tool_task

_NO_CANVAS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True)
class Envelope:
    """A task message before it is rendered: which task, for which queue, under which ids."""

    task: str
    queue: str
    args: tuple[str | int, ...]
    task_id: str
    root_id: str
    parent_id: str | None
    shown_args: str

    def render(self) -> str:
        """The message as JSON, with a delivery tag of its own.

        Render anew for each push: two copies under one tag overwrite each other among Kombu's unacknowledged
        messages, and acknowledging one forgets the other.
        """
        body = json.dumps([self.args, {}, _NO_CANVAS]).encode()
        return json.dumps(
            {
                "body": base64.b64encode(body).decode(),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": self._headers(),
                "properties": self._properties(),
            }
        )

    def _headers(self) -> dict[str, object]:
        return {
            "lang": "py",
            "task": self.task,
            "id": self.task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "argsrepr": self.shown_args,
            "kwargsrepr": "{}",
            "origin": "errandry",
            "ignore_result": True,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }

    def _properties(self) -> dict[str, object]:
        return {
            "correlation_id": self.task_id,
            "reply_to": "",
            "argsrepr": self.shown_args,
            "kwargsrepr": "{}",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": self.queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        }


def start_envelope(agent_name: str, run_id: str, lane: Lane) -> Envelope:
    """The message that starts a run; its task id is the run's id, so that all later tasks hang under it."""
    return Envelope(
        task=agent_task(agent_name),
        queue=agents_queue(lane),
        args=(run_id,),
        task_id=run_id,
        root_id=run_id,
        parent_id=None,
        shown_args=f"run={run_id}",
    )


def continuation_envelope(agent_name: str, run_id: str, step: int, lane: Lane) -> Envelope:
    """The message that continues a run after its step; it is a hint, the claim decides what is done."""
    return Envelope(
        task=agent_task(agent_name),
        queue=agents_queue(lane),
        args=(run_id,),
        task_id=f"{run_id}:{step}",
        root_id=run_id,
        parent_id=run_id,
        shown_args=f"run={run_id} step={step}",
    )


def stretch_task(run_id: str, stretch: str | None) -> str:
    """The id of the task that handed calls out: the start of their run, or the continuation after the step `stretch`.

    A pool can write what it likes there, so whatever is no step stands for the start.
    """
    return f"{run_id}:{stretch}" if re.fullmatch(r"[0-9]{1,9}", stretch or "") else run_id


def call_envelope(pool: str, tool_name: str, ids: Sequence[str | int], lane: Lane, *, parent_id: str) -> Envelope:
    """The message that hands a tool call to its pool; `ids` are run_id, step and tool_call_id, nothing else."""
    run_id, step, tool_call_id = ids
    return Envelope(
        task=tool_task(pool, tool_name),
        queue=pool_queue(pool, lane),
        args=tuple(ids),
        task_id=f"{run_id}:{step}:{tool_call_id}",
        root_id=str(run_id),
        # A call without a run (step 0) hangs under nothing.
        parent_id=parent_id if step else None,
        shown_args=f"run={run_id} step={step} tool={tool_name}",
    )
