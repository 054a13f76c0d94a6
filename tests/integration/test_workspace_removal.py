"""Workspaces go with their runs: as long as Redis has the pool's word of a run, and no longer."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import redis

from queues import keys
from queues.calls import CallAddress, Calls, ClaimedCall
from queues.known_runs import known_runs
from queues.timing import Timing
from tests.support.waiting import wait_until
from workers.bench.pausing import Pausing
from workers.sandbox.base import SandboxLevel
from workers.sandbox.workspace import GRACE_SECONDS, WorkspaceStore
from workers.workspace_sweep import WorkspaceSweep

pytestmark = pytest.mark.redis
BRIEF = Timing(lease_seconds=30, repush_seconds=30, retention_seconds=0.3, answered_seconds=0.1)


@pytest.fixture
def store(tmp_path: Path) -> WorkspaceStore:
    return WorkspaceStore(tmp_path / "kept", most_bytes=1000)


def left_behind(store: WorkspaceStore, folder: Path, run_id: str) -> Path:
    """A workspace of the run, last touched some time ago."""
    with store.hold(run_id, SandboxLevel.NS, cancelled=threading.Event()) as workspace:
        assert workspace is not None
        workspace.receive(b"archive")
        workspace.keep()
    before = time.time() - GRACE_SECONDS - 1
    for path in folder.glob(f"{run_id}.*"):
        os.utime(path, (before, before))
    return folder / f"{run_id}.tar"


def begun_call(connection: redis.Redis, timing: Timing) -> str:
    """A run one call of which has begun in the pool."""
    pausing = Pausing(connection, timing=timing)
    run_id = pausing.pause_one(pool="shell")
    calls = Calls(connection, timing=timing, worker="w")
    call_id = pausing.runs.load(run_id).snapshot.pending[0].tool_call_id
    claim = calls.claim(CallAddress("shell", run_id, 1, call_id, "ask_colleague"))
    assert isinstance(claim, ClaimedCall)
    assert isinstance(calls.begin(claim, sandbox_level="ns"), ClaimedCall)
    return run_id


def test_a_workspace_lives_from_the_first_call_to_the_end_of_the_retention(
    redis_connection: redis.Redis, store: WorkspaceStore, tmp_path: Path
) -> None:
    lives, gone = begun_call(redis_connection, Timing()), begun_call(redis_connection, BRIEF)
    archives = [left_behind(store, tmp_path / "kept", run_id) for run_id in (lives, gone)]
    assert known_runs(redis_connection, "shell", [lives, gone, "never"])[::2] == [True, False]
    wait_until(lambda: not redis_connection.exists(keys.part_events("shell", gone)), "the pool's word is gone")
    sweep = WorkspaceSweep(store, partial(known_runs, redis_connection, "shell"))
    sweep.start()
    wait_until(lambda: not archives[1].exists(), "the workspace has gone too")
    sweep.close()
    sweep.close()
    assert archives[0].exists()


def test_nothing_is_removed_while_redis_is_away(
    store: WorkspaceStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = left_behind(store, tmp_path / "kept", "run_1")
    nobody = redis.Redis(unix_socket_path=str(tmp_path / "nobody"))
    sweep = WorkspaceSweep(store, partial(known_runs, nobody, "shell"))
    with caplog.at_level(logging.WARNING):
        sweep.start()
        wait_until(lambda: caplog.records, "it was tried")
    sweep.close()
    assert archive.exists()
    assert caplog.records[0].getMessage().startswith("workspaces are not swept this time: ")
