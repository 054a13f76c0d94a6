"""What every level promises of a run's workspace: it goes from call to call of its run, and changes all or nothing."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.backends import open_backend
from tests.support.levels import opened_at, project_with
from tests.support.ordinary_user import can_become_one, run_as_ordinary_user
from tests.support.waiting import wait_until
from tests.support.workspace_scenario import NAMES, TOOLS, called
from workers.sandbox.base import Sandbox, SandboxLevel

SETTINGS = SandboxSettings(workspace_mb=4, inodes=256, spares=1)
LEVELS = [SandboxLevel.NS, SandboxLevel.SHARED, SandboxLevel.NONE]
WALK = """
import json, sys
from tests.support.workspace_scenario import walk
print(json.dumps(walk(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = project_with(tmp_path_factory.mktemp("kept") / "project", TOOLS)
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/tmp"):
            parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module", params=LEVELS)
def sandbox(request: pytest.FixtureRequest, project: Path) -> Iterator[Sandbox]:
    with closing(opened_at(request.param, SETTINGS, project, *NAMES, pool_name=f"at-{request.param}")) as sandbox:
        yield sandbox


@pytest.fixture
def run_id(request: pytest.FixtureRequest) -> str:
    return f"run_{abs(hash(request.node.nodeid)):x}"


def said(sandbox: Sandbox, run_id: str, tool: str, **arguments: Any) -> str:
    outcome = called(sandbox, run_id, tool, **arguments)
    assert outcome.outcome is CallOutcome.SUCCEEDED, outcome
    return outcome.content


def test_files_go_from_call_to_call_of_one_run(sandbox: Sandbox, run_id: str) -> None:
    assert said(sandbox, run_id, "names") == "[]"
    assert said(sandbox, run_id, "write", name="a", text="one ") == "one "
    assert said(sandbox, run_id, "write", name="a", text="two") == "one two"
    assert said(sandbox, run_id, "shell", command="mkdir -p d && mv a d/ && ln -s d/a link && cat link") == "one two"
    assert said(sandbox, run_id, "read", name="link") == "one two"
    assert said(sandbox, run_id, "shell", command="rm -r d link; echo gone").strip() == "gone"
    assert said(sandbox, run_id, "names") == "[]"


def test_runs_see_nothing_of_each_other(sandbox: Sandbox, run_id: str) -> None:
    said(sandbox, run_id, "write", name="mine", text="x")
    assert said(sandbox, f"{run_id}_other", "names") == "[]"
    assert said(sandbox, run_id, "names") == '["mine"]'


def test_the_current_folder_stays_the_project(sandbox: Sandbox, run_id: str, project: Path) -> None:
    place, current = json.loads(said(sandbox, run_id, "place"))
    assert current == str(project)
    if sandbox.level in (SandboxLevel.NS, SandboxLevel.SHARED):
        assert place == "/workspace"
    assert not Path(place).exists(), "nothing of it is left on this machine"


def test_a_failing_tool_keeps_what_it_wrote(sandbox: Sandbox, run_id: str) -> None:
    outcome = called(sandbox, run_id, "write_and", name="a", text="kept", then="raise")
    assert (outcome.outcome, "on purpose" in outcome.content) == (CallOutcome.FAILED, True)
    assert said(sandbox, run_id, "read", name="a") == "kept"


@pytest.mark.parametrize("then", ["exit", "leave", "wait"])
def test_a_call_without_a_clean_end_leaves_the_old_workspace(
    sandbox: Sandbox, run_id: str, then: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder of its own, for in the machine's other tests have workspaces meanwhile.
    scratch = project.parent / f"scratch-{then}"
    scratch.mkdir(exist_ok=True)
    scratch.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    if sandbox.level is SandboxLevel.NONE:
        assert json.loads(said(sandbox, run_id, "place"))[0].startswith(f"{scratch}/errandry-workspace-")
    said(sandbox, run_id, "write", name="a", text="old")
    outcome = called(sandbox, run_id, "write_and", timeout_seconds=2, name="a", text=" new", then=then)
    assert outcome.outcome in (CallOutcome.FAILED, CallOutcome.TIMED_OUT)
    assert said(sandbox, run_id, "read", name="a") == "old"
    assert list(scratch.iterdir()) == []


def test_calls_of_one_run_take_turns_and_others_go_on(sandbox: Sandbox, run_id: str) -> None:
    with ThreadPoolExecutor(5) as threads:
        turns = [threads.submit(said, sandbox, run_id, "slowly", name="a", seconds=0.2) for _ in range(3)]
        others = [threads.submit(said, sandbox, f"{run_id}_{n}", "slowly", name="a", seconds=0.1) for n in range(2)]
        assert {each.result(timeout=60) for each in others} == {"x"}
        assert {each.result(timeout=60) for each in turns} == {"x", "xx", "xxx"}


def test_a_waiting_call_can_be_cancelled(sandbox: Sandbox, run_id: str) -> None:
    stop_first, stop_second = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(called, sandbox, run_id, "slowly", name="a", seconds=50, cancelled=stop_first)
        wait_until(lambda: _is_held(sandbox, run_id), "the first call holds the workspace")
        second = threads.submit(called, sandbox, run_id, "names", cancelled=stop_second)
        stop_second.set()
        outcome = second.result(timeout=60)
        assert (outcome.outcome, outcome.wall_seconds) == (CallOutcome.CANCELLED, 0)
        stop_first.set()
        assert first.result(timeout=60).outcome is CallOutcome.CANCELLED


def _is_held(sandbox: Sandbox, run_id: str) -> bool:
    stopped = threading.Event()
    stopped.set()
    return called(sandbox, run_id, "names", cancelled=stopped).wall_seconds == 0


def test_what_cannot_be_kept_is_told_and_changes_nothing(sandbox: Sandbox, run_id: str) -> None:
    said(sandbox, run_id, "write", name="a", text="old")
    outcome = called(sandbox, run_id, "grow", megabytes=20, sparse=True)
    assert outcome.outcome is CallOutcome.FAILED
    assert outcome.content.startswith(
        "The tool has run, but its workspace could not be kept and is as it was before: it is larger than"
    )
    assert said(sandbox, run_id, "names") == '["a"]'


def test_the_room_is_limited_where_it_is_mounted(sandbox: Sandbox, run_id: str) -> None:
    outcome = called(sandbox, run_id, "grow", megabytes=10, sparse=False)
    assert outcome.outcome is CallOutcome.FAILED
    if sandbox.level in (SandboxLevel.NS, SandboxLevel.SHARED):
        assert "No space left on device" in outcome.content
        assert "4 MiB to the workspace" in outcome.content


def test_what_a_tool_leaves_running_does_not_spoil_its_workspace(sandbox: Sandbox, run_id: str) -> None:
    assert said(sandbox, run_id, "keep_writing") == "left behind"
    assert said(sandbox, run_id, "names") == '["log"]'


def test_archives_are_the_workers_alone(sandbox: Sandbox, run_id: str, project: Path) -> None:
    said(sandbox, run_id, "write", name="a", text="x")
    kept = project / ".errandry" / "workspaces" / f"at-{sandbox.level}"
    assert kept.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}
    assert not list(kept.glob("*.incoming"))
    if sandbox.level is not SandboxLevel.NONE:
        answer = said(sandbox, run_id, "shell", command=f"ls {kept}")
        assert "Permission denied" in answer or "No such file" in answer


def test_a_workspace_outlives_the_sandbox(sandbox: Sandbox, run_id: str, project: Path) -> None:
    said(sandbox, run_id, "write", name="a", text="kept")
    with closing(opened_at(sandbox.level, SETTINGS, project, *NAMES, pool_name=f"at-{sandbox.level}")) as another:
        assert said(another, run_id, "read", name="a") == "kept"
    with closing(opened_at(sandbox.level, SETTINGS, project, *NAMES, pool_name="another")) as another:
        assert said(another, run_id, "names") == "[]", "each pool has workspaces of its own"


def test_a_spoilt_archive_is_told_and_left_alone(sandbox: Sandbox, run_id: str, project: Path) -> None:
    said(sandbox, run_id, "write", name="a", text="x")
    archive = project / ".errandry" / "workspaces" / f"at-{sandbox.level}" / f"{run_id}.tar"
    archive.write_bytes(b"spoilt" * 1000)
    outcome = called(sandbox, run_id, "names")
    assert outcome.outcome is CallOutcome.FAILED
    assert outcome.content.startswith("The workspace of this run cannot be restored: ReadError")
    assert archive.read_bytes() == b"spoilt" * 1000


def test_without_workspace_mb_there_is_none(project: Path) -> None:
    with closing(opened_at(SandboxLevel.NS, SandboxSettings(), project, "place")) as sandbox:
        assert json.loads(said(sandbox, "run_1", "place"))[0] == ""


@pytest.mark.timeout(240)
def test_a_container_has_workspaces_too(project: Path) -> None:
    sandbox = open_backend(
        "container", tools=[f"pool_tools:{tool}" for tool in NAMES], project_dir=project, workspace_mb=4, inodes=256
    )
    with closing(sandbox):
        sandbox.describe()
        assert said(sandbox, "run_contained", "write", name="a", text="one ") == "one "
        assert called(sandbox, "run_contained", "write_and", name="a", text="x", then="exit").exit_code == 3
        assert said(sandbox, "run_contained", "write", name="a", text="two") == "one two"
        assert json.loads(said(sandbox, "run_contained", "place"))[0] == "/workspace"
        assert said(sandbox, "run_apart", "names") == "[]"


@pytest.mark.skipif(not can_become_one(), reason="only root can become an ordinary user")
@pytest.mark.parametrize("level", ["ns", "shared", "landlock", "none"])
def test_an_ordinary_user_has_workspaces_at_every_level(level: str) -> None:
    expected = {"said": ["one ", "one two", "one two", "[]"], "killed": "timed_out", "level": level}
    assert run_as_ordinary_user(WALK, level) == expected
