"""What `errandry doctor` finds of pools that are served over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from queues.announcements import Announcement, Announcements
from queues.checkup import Level
from queues.consumers import executor_findings
from queues.settings import PoolSettings, SandboxSettings, Settings
from tests.support.queue_floor import Floor, external
from workers.checkup import Scope, examine

pytestmark = pytest.mark.redis


def test_a_pool_for_whose_calls_nobody_asks_is_a_problem(floor: Floor) -> None:
    floor.paused(external("a", pool="remote"), external("b", pool="remote"))
    known = Announcements(floor.connection, "remote", valid_seconds=60)
    (alone,) = executor_findings(floor.connection, ["remote"])
    assert (alone.level, alone.subject) == (Level.PROBLEM, "workers.remote")
    assert alone.text == "no executor has asked for calls of pool remote lately; 2 messages wait"
    known.announce(Announcement("laptop:7", "external", 1))
    (served,) = executor_findings(floor.connection, ["remote"])
    assert (served.level, served.text) == (Level.OK, "laptop:7, over HTTP; 2 messages wait")
    known.withdraw("laptop:7")
    (alone,) = executor_findings(floor.connection, ["remote"])
    assert alone.level is Level.PROBLEM


def test_its_workers_and_its_sandbox_are_not_looked_for(tmp_path: Path, redis_url: str) -> None:
    pools = {
        "remote": PoolSettings(tools=("elsewhere:resize",), served_by="http"),
        "shell": PoolSettings(tools=("a:b",), sandbox=SandboxSettings(backend="none")),
    }
    settings = Settings(redis_url=SecretStr(redis_url), project_dir=tmp_path, pools=pools)
    found = {finding.subject: finding for finding in examine(settings, Scope())}
    assert "no executor has asked" in found["workers.remote"].text
    assert "no tool worker of pool shell" in found["workers.shell"].text
    assert "sandbox.shell" in found and "sandbox.remote" not in found
