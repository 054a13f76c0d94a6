"""A project with everything started by one command: its runs tell their ends, and one secret stays with the gateway."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx2
import pytest

from tests.support.command import Command
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SECRET = "a-secret-of-the-tests"
GATEWAY = '\n[gateway]\nwebhook_secret = "env:WEBHOOK_SECRET"\nwebhook_allow_private = true\n'


def test_runs_of_a_whole_project_tell_their_ends(tmp_path: Path) -> None:
    assert Command(tmp_path).run("init", "helpdesk").returncode == 0
    settings = tmp_path / "helpdesk" / "errandry.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + GATEWAY, encoding="utf-8")
    project = Command(tmp_path / "helpdesk", {"WEBHOOK_SECRET": SECRET})
    with Receiver() as receiver, project.up("--no-flower", "--gateway-port", "0") as up:
        gateway = up.wait_for_line("Gateway: http").split()[1]
        new = {"agent": "ops", "input": "Count the words in one two three", "webhook_url": receiver.url()}
        with httpx2.Client(base_url=gateway, trust_env=False, timeout=30) as client:
            run_id = client.post("/v1/runs", json=new).json()["run_id"]
        wait_until(lambda: receiver.posted, "its end is told", timeout_seconds=60)
        (posted,) = receiver.posted
        assert posted.is_signed_with(SECRET.encode())
        assert posted.told["type"] == "run.completed"
        assert posted.told["data"]["run_id"] == run_id
        assert posted.told["data"]["content"] == "There are 3 words."
        submitted = project.run("submit", "ops", "Count the words in one", "--webhook-url", receiver.url())
        wait_until(lambda: len(receiver.posted) == 2, "the end of the second is told", timeout_seconds=60)
        assert receiver.posted[1].told["data"]["run_id"] == submitted.stdout.strip()
        refused = project.run("submit", "ops", "Count the words in one", "--webhook-url", "ftp://example.com")
        assert refused.returncode != 0 and "webhook_url must begin with https:// or http://" in refused.stderr
        assert {name for name, knows_it in kinds_of_process(up.process.pid) if knows_it} == {"gateway"}
        assert {name for name, _ in kinds_of_process(up.process.pid)} >= {"gateway", "agent-worker", "tool-worker"}
        assert up.stop(signal.SIGTERM) == 0, up.said()
        assert SECRET not in up.said()


def kinds_of_process(parent: int) -> set[tuple[str, bool]]:
    """Our commands among the children of `parent`, each with whether its environment holds the secret."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            stat = (entry / "stat").read_text(encoding="utf-8")
            knows_it = SECRET.encode() in (entry / "environ").read_bytes()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == parent and "workers.cli" in words:
            found.add((words[words.index("workers.cli") + 1], knows_it))
    return found
