"""The notes that real workers leave for probes: idle, full, without their server, told to leave, and deaf."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery

from queues.embedded import EmbeddedServer
from queues.errors import SettingsError
from tests.support.waiting import is_running, wait_until
from tests.support.walking import Walk, agent_worker, tool_worker, walking
from workers.beating import Beating
from workers.beats import AGENT_BEATS, TOOL_BEATS, Beat, place, read

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60
NOTES = {"agents": AGENT_BEATS, "shell": TOOL_BEATS}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path / "server") as server:
        yield server


@pytest.fixture
def walk(tmp_path: Path, server: EmbeddedServer) -> Iterator[Walk]:
    """An agent worker and one tool worker, which leave notes."""
    folder = tmp_path / "project"
    folder.mkdir()
    with walking(folder, server.url, lease_seconds=2, start_workers=False, with_users=False) as walk:
        noted = replace(walk, settings=walk.settings.model_copy(update={"beats_dir": tmp_path / "beats"}))
        noted.processes.start(agent_worker(noted, name="agents"), tool_worker(noted, "shell", name="shell"))
        yield noted


def note(walk: Walk, node: str) -> Beat | None:
    assert walk.settings.beats_dir is not None
    return read(place(str(walk.settings.beats_dir), NOTES[node], node))


def newest(walk: Walk, node: str) -> Beat:
    found = note(walk, node)
    assert found is not None
    return found


def goes_on(walk: Walk, node: str) -> None:
    """Returns once each time in the node's note has moved twice, so that nothing of it is from before."""
    for _ in range(2):
        wait_until(lambda: note(walk, node) is not None, f"{node} has a note", timeout_seconds=BOUND)
        before = newest(walk, node)

        def moved(before: Beat = before) -> bool:
            now = newest(walk, node)
            return all(now[place] > before[place] for place in range(3)) and now.started == before.started

        wait_until(moved, f"{node} beats", timeout_seconds=BOUND)


def test_notes_follow_the_server_and_the_worker(walk: Walk, server: EmbeddedServer) -> None:
    for node in NOTES:
        goes_on(walk, node)

    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive, "the server is gone", timeout_seconds=BOUND)
    for node in NOTES:
        # Written on, while neither a heartbeat nor the consumer gets an answer.
        wait_until(
            lambda node=node: newest(walk, node).written > max(newest(walk, node)[1:3]) + 3,  # type: ignore[misc]
            f"{node} says so",
            timeout_seconds=BOUND,
        )
    assert server.revive()
    for node in NOTES:
        goes_on(walk, node)

    pids = {node: walk.processes.pids()[node] for node in NOTES}
    for pid in pids.values():
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not any(map(is_running, pids.values())), "the workers have left", timeout_seconds=BOUND)
    assert [note(walk, node) for node in NOTES] == [None, None]


def test_a_full_worker_counts_as_one_that_asks(walk: Walk, tmp_path: Path) -> None:
    gate = walk.settings.project_dir / "gate"
    # As many as the worker has places, and one more.
    runs = [walk.client.submit("ops", f"Print and wait for {gate}") for _ in range(5)]
    for run in runs[:4]:
        next(event for event in run.events(timeout=BOUND) if event.event == "ToolCallExecuting")
    goes_on(walk, "shell")
    gate.touch()
    for run in runs:
        assert run.wait(timeout=BOUND).tools[0].result == "passed"


def test_a_full_window_with_nothing_in_it_is_deaf(tmp_path: Path) -> None:
    beating = Beating(Celery("test", set_as_current=False), tmp_path, kind=TOOL_BEATS, every_seconds=1)
    assert beating._asked_at() == 0.0
    channel = SimpleNamespace(asked_at=7.0, qos=SimpleNamespace(can_consume=lambda: False))
    beating._consumer = SimpleNamespace(task_consumer=SimpleNamespace(channel=channel))
    assert beating._asked_at() == 7.0
    beating._consumer.task_consumer = None
    assert beating._asked_at() == 0.0


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="beats_dir"):
        Beating(Celery("test", set_as_current=False), tmp_path / "file", kind=TOOL_BEATS, every_seconds=1)
