"""What the wall adds: what a tool behind it sees, reaches and leaves behind.

Nothing is mocked: each call here is a real process. Where it is safe, the same payload is shown to succeed without a
wall.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.sandboxes import ROOT, mark, marked, opened, run
from tests.support.waiting import wait_until
from workers.sandbox.base import Sandbox, SandboxCall, SandboxLevel, SandboxUnavailableError
from workers.sandbox.opening import open_sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the wall is made of Linux namespaces")

PLAIN = SandboxSettings(level="none")


@pytest.fixture(scope="module")
def walled() -> Iterator[Sandbox]:
    sandbox = opened()
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Sandbox]:
    sandbox = opened(PLAIN)
    yield sandbox
    sandbox.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    # pytest makes its folders 0700; the folders above it stay closed, which a root worker has to overcome.
    tmp_path.chmod(0o755)
    return tmp_path


def test_no_wall_must_be_spelt_out(walled: Sandbox, plain: Sandbox) -> None:
    assert walled.level is SandboxLevel.NS
    assert plain.level is SandboxLevel.NONE
    with pytest.raises(SandboxUnavailableError, match='spell out level = "none"'):
        opened(SandboxSettings(backend="none"))


def test_the_process_has_nothing_but_itself(walled: Sandbox) -> None:
    surroundings = json.loads(run(walled, "surroundings").content)

    assert set(surroundings["capabilities"]) == {"0" * 16}
    assert surroundings["no_new_privs"] == "1"
    assert surroundings["groups"] == []
    assert surroundings["processes"] == [1]
    assert surroundings["interfaces"] == ["lo"]
    # Standard streams, the answer, and the descriptor that lists the descriptors.
    assert surroundings["descriptors"] == [0, 1, 2, 3, 4]
    own = {path.name: str(path.readlink()) for path in Path("/proc/self/ns").iterdir()}
    for name in ("user", "pid", "net", "ipc", "uts", "mnt", "cgroup"):
        assert surroundings["namespaces"][name] != own[name]


def test_the_process_is_not_root_on_this_machine(walled: Sandbox) -> None:
    sign, cancelled = mark(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run, walled, "wait", seconds=60, mark=sign, cancelled=cancelled)
        wait_until(lambda: marked(sign), "the tool runs")
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in marked(sign)}
        cancelled.set()
        waiting.result(60)

    assert 0 not in owners
    assert owners == {65534 if os.geteuid() == 0 else os.geteuid()}


def test_files_of_this_machine_cannot_be_read(walled: Sandbox, plain: Sandbox, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("canary")
    canary.chmod(0o644)

    assert run(plain, "read_file", path=str(canary)).content == "canary"
    assert run(walled, "read_file", path=str(canary)).outcome is CallOutcome.FAILED
    for folder in ("/home", "/var", "/run", "/etc/shadow", "/sys"):
        assert "FileNotFoundError" in run(walled, "list_folder", path=folder).content
    home = run(walled, "list_folder", path=str(Path.home()))
    assert home.outcome is CallOutcome.FAILED or set(json.loads(home.content)) <= {".pyenv", ".local", "work"}


def test_state_history_and_secrets_of_the_project_are_covered(project: Path) -> None:
    for folder in (".errandry", ".git"):
        (project / folder).mkdir()
        (project / folder / "canary").write_text("canary")
    (project / ".env").write_text("KEY=canary")
    (project / "seen.txt").write_text("seen")

    sandbox = opened(project_dir=project)
    (project / ".env.late").write_text("KEY=canary")
    outcomes = {
        path: run(sandbox, "read_file", path=str(project / path))
        for path in ("seen.txt", ".errandry/canary", ".git/canary", ".env", ".env.late")
    }
    listed = run(sandbox, "list_folder", path=str(project / ".errandry"))
    sandbox.close()

    assert outcomes.pop("seen.txt").content == "seen"
    assert [outcome.outcome for outcome in outcomes.values()] == [CallOutcome.FAILED] * 4
    assert listed.content == "[]"


def test_only_scratch_can_be_written_and_it_is_nobody_elses(walled: Sandbox, plain: Sandbox, project: Path) -> None:
    assert run(plain, "write_file", path=str(project / "new")).content == "written"
    for path in (
        project / "other",
        ROOT / "new",
        "/usr/new",
        "/new",
        "/dev/new",
        "/etc/new",
        "/proc/sys/kernel/core_pattern",
    ):
        assert run(walled, "write_file", path=str(path)).outcome is CallOutcome.FAILED
        assert not Path(path).exists() or Path(path).read_text() != "written"

    assert run(walled, "write_file", path="/tmp/errandry-scratch").content == "written"
    assert not Path("/tmp/errandry-scratch").exists()
    assert run(walled, "read_file", path="/tmp/errandry-scratch").outcome is CallOutcome.FAILED


def test_scratch_is_limited(walled: Sandbox, plain: Sandbox, project: Path) -> None:
    assert "File too large" in run(plain, "one_file", megabytes=120, path=str(project / "large")).content
    assert int(run(walled, "fill", folder="/tmp", megabytes=120).content) <= 64
    assert int(run(walled, "fill", folder="/dev/shm", megabytes=120).content) <= 16
    assert "may grow to 64 MiB" in run(walled, "one_file", megabytes=120).content
    roomy = opened(SandboxSettings(disk_mb=160))
    assert run(roomy, "fill", folder="/tmp", megabytes=120).content == "120"
    roomy.close()


def test_the_network_is_out_of_reach_unless_spelt_out(walled: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        port = listener.getsockname()[1]
        assert run(walled, "connect", port=port).outcome is CallOutcome.FAILED

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"hello")

        open_to_host = opened(SandboxSettings(network="host"))
        # The probe itself connects to a listener of its own, so this one hears the tool first.
        greeting = threads.submit(greet)
        assert run(open_to_host, "connect", port=port).content == "hello"
        greeting.result(60)
        open_to_host.close()


def test_processes_are_limited(walled: Sandbox, plain: Sandbox) -> None:
    assert "more than 64 processes" in run(plain, "one_fork_too_many", wanted=150).content
    assert 30 < int(run(walled, "forks", wanted=150).content) <= 64
    assert "may start 64 processes" in run(walled, "one_fork_too_many", wanted=150).content
    roomy = opened(SandboxSettings(pids=200, memory_mb=512))
    assert run(roomy, "forks", wanted=150).content == "150"
    roomy.close()


def test_a_fork_bomb_ends_with_its_call(walled: Sandbox) -> None:
    outcome = run(walled, "fork_bomb", timeout_seconds=1.5)

    # It meets one of two limits first, as fast as the machine lets it grow.
    assert outcome.outcome is CallOutcome.TIMED_OUT or "more than 256 MiB" in outcome.content
    assert outcome.wall_seconds < 20
    assert run(walled, "add", a=1, b=2).content == "3"


def test_nothing_outlives_its_call(walled: Sandbox, plain: Sandbox) -> None:
    sign, other = mark(), mark()

    assert run(walled, "stay", mark=sign).content == "left"
    assert not marked(sign)

    # Without a wall the daemon stays, which shows that the payload works.
    run(plain, "stay", mark=other)
    wait_until(lambda: marked(other), "the daemon runs")
    for pid in marked(other):
        os.kill(pid, signal.SIGKILL)


def test_memory_that_belongs_to_no_process_is_counted_or_cannot_be_had(walled: Sandbox, plain: Sandbox) -> None:
    assert run(plain, "hog_unseen", megabytes=384).content == "12"
    outcome = run(walled, "hog_unseen", megabytes=384)

    assert outcome.outcome is CallOutcome.FAILED
    refused = "Function not implemented" if outcome.detail["cgroup"] == "watch" else "more than 256 MiB of memory"
    assert refused in outcome.content


def test_the_standard_library_still_works(walled: Sandbox) -> None:
    assert run(walled, "pool_of_processes").content == "[1,2,3]"
    assert "uid=1000" in run(walled, "shell", command="id; python3 -c 'print(40+2)'").content


def test_the_home_folder_is_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SandboxUnavailableError, match="a folder of their own"):
        opened(project_dir=tmp_path)


def test_added_folders_are_visible_and_must_exist(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    added = tmp_path_factory.mktemp("added")
    added.chmod(0o755)
    (added / "dictionary").write_text("words")

    sandbox = opened(SandboxSettings(read_only=(str(added),)), project_dir=project)
    outcome = run(sandbox, "read_file", path=str(added / "dictionary"))
    sandbox.close()

    assert outcome.content == "words"
    with pytest.raises(SandboxUnavailableError, match="does not exist"):
        opened(SandboxSettings(read_only=(str(added / "missing"),)), project_dir=project)


def test_a_project_inside_a_masked_folder_of_another_tree_is_shown_with_masks_of_its_own(tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    project = outer / ".errandry" / "demo"
    (project / ".errandry").mkdir(parents=True)
    for folder in (tmp_path, outer, project.parent, project, project / ".errandry"):
        folder.chmod(0o755)
    (outer / ".errandry" / "state.txt").write_text("the outer project's own")
    (project / ".errandry" / "state.txt").write_text("the project's own")
    (project / "notes.txt").write_text("for the tools")
    (project / "looking.py").write_text(
        "import pathlib\n\n\ndef look(path: str) -> str:\n    return pathlib.Path(path).read_text()\n"
    )
    settings = SandboxSettings(read_only=(str(outer),))
    with closing(open_sandbox(settings, tools=["looking:look"], project_dir=project)) as sandbox:
        sandbox.describe()
        seen = [
            sandbox.run(SandboxCall("look", {"path": str(path)}, "run:1:call"), cancelled=threading.Event())
            for path in (project / "notes.txt", project.parent / "state.txt", project / ".errandry" / "state.txt")
        ]
    assert [outcome.outcome for outcome in seen] == [CallOutcome.SUCCEEDED, CallOutcome.FAILED, CallOutcome.FAILED]


@pytest.mark.parametrize(
    ("name", "text"),
    [("errandry.toml", 'redis_url = "redis://:hidden@h"'), ("pyproject.toml", "[tool.errandry]\nagents = []")],
)
def test_the_settings_and_their_passwords_are_hidden_from_tools(tmp_path: Path, name: str, text: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / name).write_text(text)
    (tmp_path / "peeking.py").write_text(f"def peek() -> str:\n    return open({name!r}).read()\n")
    with closing(open_sandbox(SandboxSettings(), tools=["peeking:peek"], project_dir=tmp_path)) as sandbox:
        sandbox.describe()
        seen = sandbox.run(SandboxCall("peek", {}, "run:1:call"), cancelled=threading.Event())
    assert seen.outcome is CallOutcome.FAILED
    assert "Permission denied" in seen.content
