"""A wall that cannot be put up is counted: for a worker that was to start, and for a single call."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from agent_core import telemetry
from queues import keys
from queues.counting import field_of
from queues.settings import Settings, load_settings
from tests.support.gateways import project
from workers import tool_worker
from workers.sandbox.base import Limits, SandboxCall, SandboxLevel, SandboxUnavailableError
from workers.sandbox.calls import ProcessSandbox
from workers.sandbox.children import Child

pytestmark = pytest.mark.redis

IMPOSSIBLE = {"shell": {"tools": ["t:run"], "sandbox": {"backend": "process", "level": "strict"}}}


@pytest.fixture(autouse=True)
def listeners(monkeypatch: pytest.MonkeyPatch) -> list[telemetry.Listener]:
    found: list[telemetry.Listener] = []
    monkeypatch.setattr(telemetry, "_listeners", found)
    return found


def refused(settings: Settings) -> None:
    with pytest.raises(SandboxUnavailableError):
        tool_worker.build(settings, "shell")


def test_a_worker_whose_start_is_refused_says_so_once(
    tmp_path: Path, redis_url: str, redis_connection: redis.Redis
) -> None:
    refused(project(tmp_path, redis_url, pools=IMPOSSIBLE))
    counted: Any = redis_connection.hgetall(keys.counts("shell"))
    assert counted == {field_of(("errandry_sandbox_refusals_total", "shell")): "1"}


def test_it_is_refused_for_the_same_reason_where_there_is_no_store(tmp_path: Path) -> None:
    refused(load_settings(tmp_path, redis_url="redis://127.0.0.1:1/0", agents=("a:ops",), pools=IMPOSSIBLE))


class Nobody:
    """Whoever should give processes, and has none."""

    def take(self) -> Child:
        raise SandboxUnavailableError("there is none")

    def close(self) -> None:
        """Nothing is held."""


def test_a_call_for_which_there_is_no_process_is_told(listeners: list[telemetry.Listener], tmp_path: Path) -> None:
    told: list[object] = []
    listeners.append(lambda event, fields: told.append((event, dict(fields))))
    sandbox = ProcessSandbox(
        level=SandboxLevel.NS,
        limits=Limits(),
        launcher=None,
        children=Nobody(),
        tools=("t:run",),
        project_dir=tmp_path,
        environment={},
        secrets=dict,
        pool_name="shell",
    )
    with pytest.raises(SandboxUnavailableError):
        sandbox.run(SandboxCall("run", {}, idempotency_key="r:1:a"), cancelled=threading.Event())
    assert told == [("sandbox.refused", {"pool": "shell", "reason": "process"})]
