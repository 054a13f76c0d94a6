"""What a process may load, seen in fresh interpreters: a checker of imports does not see what an `__init__` runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What no producer needs: models and their clients, tools, the broker, settings.
HEAVY = {
    "openai",
    "agent_core.agent",
    "agent_core.loop",
    "agent_core.tools.function",
    "celery",
    "kombu",
    "pydantic_settings",
}


def loaded_by(module: str) -> set[str]:
    program = f"import {module}, sys; print('\\n'.join(sys.modules))"
    return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("workers.sandbox.runner", {"openai", "agent_core.agent", "agent_core.loop", "redis", "celery", "kombu"}),
        # Each call is forked from it, and pays for every page and every library that is there.
        ("workers.sandbox.zygote", {"openai", "asyncio", "ssl", "logging", "redis", "celery", "kombu"}),
        ("workers.tool_worker", {"openai", "agent_core.agent", "agent_core.loop", "agent_core.models"}),
        ("queues.client", {*HEAVY, "agent_core.run", "asyncio", "pydantic", "redis"}),
        ("queues.client_stores", HEAVY),
        ("queues.async_client", HEAVY),
        ("agent_core.run", {*HEAVY, "asyncio", "redis"}),
        ("agent_core.agent", {"openai", "redis", "celery", "kombu", "rich"}),
        ("agent_core.models.openai", {"openai", "redis", "celery", "kombu"}),
    ],
)
def test_a_module_brings_along_only_what_it_may(module: str, forbidden: set[str]) -> None:
    assert not loaded_by(module) & forbidden
