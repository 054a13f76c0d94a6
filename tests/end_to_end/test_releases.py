"""A run that paused under one release of a project meets the workers of another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent_core.run import RunStatus
from queues.client import RunHandle
from queues.embedded import EmbeddedServer
from queues.settings import load_settings
from tests.support.command import Command
from tests.support.waiting import wait_until
from tests.support.walking import Walk, agent_worker, kill, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60
ASKED = "def ask_colleague(question: str) -> str:"
OFFERED = "tools=[delete_all, ask_colleague]"


@pytest.fixture
def walk(tmp_path: Path, redis_url: str, embedded_server: EmbeddedServer) -> Iterator[Walk]:
    first = tmp_path / "first"
    first.mkdir()
    with walking(first, redis_url, start_workers=False) as running:
        yield running


def another_release(walk: Walk, old: str, new: str) -> Walk:
    """The same project on the same Redis, with other code."""
    folder = walk.settings.project_dir.with_name("second")
    shutil.copytree(walk.settings.project_dir, folder)
    code = folder / "walk_agents.py"
    text = code.read_text(encoding="utf-8")
    assert old in text
    code.write_text(text.replace(old, new), encoding="utf-8")
    settings = walk.settings
    assert settings.redis_url is not None
    changed = load_settings(
        folder,
        redis_url=settings.redis_url.get_secret_value(),
        redis_users=settings.redis_users_file,
        lease_seconds=settings.lease_seconds,
    )
    return replace(walk, settings=changed)


def paused_under(walk: Walk, name: str) -> RunHandle:
    """A run that waits for a person, and whose release has no worker any more."""
    walk.processes.start(agent_worker(walk, name=name))
    run = walk.client.submit("careful", "Ask what is new?")
    assert run.wait(timeout=BOUND, until="paused").is_paused
    kill(walk, name)
    return run


def doctor(walk: Walk) -> dict[str, dict[str, object]]:
    """What `errandry doctor --release` finds with the code of this release, by subject."""
    errandry = Command(walk.settings.project_dir, walk.settings.as_environment())
    done = errandry.run("doctor", "--release", "--no-sandbox", "--json")
    assert done.stdout, done.stderr
    return {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}


def settle(walk: Walk, run: RunHandle) -> None:
    (asked,) = walk.client.pending(run.run_id)
    walk.client.settle(run.run_id, asked.tool_call_id, result="nothing")


def test_a_run_whose_tool_is_gone_waits_for_a_worker_that_has_it(walk: Walk) -> None:
    run = paused_under(walk, "first")
    second = another_release(walk, OFFERED, "tools=[delete_all]")

    told = doctor(second)["release.runs"]
    assert told["level"] == "problem"
    assert str(told["details"]).startswith(f"['{run.run_id}: PAUSED, agent careful, which lacks the tool ask_colleague")

    walk.processes.start(agent_worker(second, name="second"))
    settle(walk, run)
    wait_until(lambda: "lacks the tool ask_colleague" in str(run.output().error), "it is parked", timeout_seconds=BOUND)
    assert run.status() is RunStatus.PAUSED
    assert doctor(second)["runs.parked"]["level"] == "warning"

    kill(walk, "second")
    assert doctor(walk)["release.runs"]["level"] == "ok"
    walk.processes.start(agent_worker(walk, name="first again"))
    done = run.wait(timeout=BOUND)
    assert (done.status, done.error, done.tools[0].result) == (RunStatus.COMPLETED, None, "nothing")


def test_an_answer_counts_though_the_parameters_of_its_tool_have_changed(walk: Walk) -> None:
    run = paused_under(walk, "first")
    second = another_release(walk, ASKED, "def ask_colleague(question: str, urgent: bool) -> str:")

    found = doctor(second)
    assert found["release.runs"]["level"] == "ok"
    assert found["release.schemas"]["level"] == "warning"
    assert run.run_id in str(found["release.schemas"]["details"])
    assert "urgent: Field required" in str(found["release.schemas"]["details"])

    walk.processes.start(agent_worker(second, name="second"))
    settle(walk, run)
    done = run.wait(timeout=BOUND)
    assert (done.status, done.tools[0].result) == (RunStatus.COMPLETED, "nothing")
