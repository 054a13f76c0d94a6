"""What a pool may ask for beyond the ordinary: each option on a real call, and that the wall holds with it.

Nothing is mocked.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.ordinary_user import can_become_one, run_as_ordinary_user
from tests.support.sandboxes import opened, run
from workers.sandbox.base import SandboxUnavailableError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the wall is made of Linux namespaces")


def test_a_tool_that_signals_itself_ends_by_it_only_behind_an_init() -> None:
    with closing(opened()) as alone, closing(opened(SandboxSettings(init=True))) as second:
        assert run(alone, "signal_itself").content == "went on"
        assert "killed by signal 15 (SIGTERM)" in run(second, "signal_itself").content
        assert "killed by signal 11 (SIGSEGV)" in run(second, "crash").content
        assert "exited with status 3" in run(second, "leave", status=3).content
        assert run(second, "add", a=1, b=2).content == "3"
        assert run(second, "stay", mark="1").content == "left"


def test_without_proc_a_tool_sees_no_process_at_all() -> None:
    with closing(opened(SandboxSettings(proc="none"))) as sandbox:
        assert run(sandbox, "list_folder", path="/proc").content == "[]"
        assert run(sandbox, "shell", command="echo still works").content == "still works\n"
        assert run(sandbox, "write_file", path="/proc/new").outcome is CallOutcome.FAILED


def test_scratch_may_be_closed_to_programs() -> None:
    script = "cp /bin/true /tmp/program && /tmp/program && echo executed"
    with closing(opened()) as sandbox, closing(opened(SandboxSettings(noexec=True))) as closed:
        assert run(sandbox, "shell", command=script).content == "executed\n"
        assert "executed" not in run(closed, "shell", command=script).content


def test_a_folder_may_be_written_to_if_the_pool_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    shared, read = tmp_path / "shared", tmp_path / "read"
    for folder in (shared, read):
        folder.mkdir()
        folder.chmod(0o777)
    settings = SandboxSettings(read_write=(f"{shared}:/results",), read_only=(f"{read}:/reference",))
    with closing(opened(settings)) as sandbox:
        assert run(sandbox, "write_file", path="/results/new").content == "written"
        assert run(sandbox, "write_file", path="/reference/new").outcome is CallOutcome.FAILED
        assert run(sandbox, "list_folder", path="/reference").content == "[]"

    assert (shared / "new").read_text() == "written"
    assert not (read / "new").exists()


def test_variables_may_be_set_and_modules_found_elsewhere(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "elsewhere.py").write_text("WORD = 'found'\n")
    settings = SandboxSettings(python_path=(str(tmp_path),), set_env={"GREETING": "hello"})
    with closing(opened(settings)) as sandbox:
        assert '"GREETING":"hello"' in run(sandbox, "environment").content
        assert run(sandbox, "import_word", module="elsewhere").content == "found"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its tools another user")
def test_the_tools_of_a_pool_may_have_a_user_of_their_own(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with closing(opened(SandboxSettings(uid=4711, read_write=(f"{tmp_path}:/results",)))) as sandbox:
        assert run(sandbox, "write_file", path="/results/new").content == "written"

    assert (tmp_path / "new").stat().st_uid == 4711


@pytest.mark.skipif(not can_become_one(), reason="only root can become another user")
def test_an_ordinary_worker_is_refused_another_user_and_has_every_other_option() -> None:
    said = run_as_ordinary_user(_AS_ORDINARY_USER)

    assert "which only a worker of root can become" in said["uid"]
    assert said["options"] == {"init": "3", "proc": "3", "noexec": "3", "spares": "3", "allowlist": "3"}


_AS_ORDINARY_USER = """
import json
from contextlib import closing
from queues.settings import SandboxSettings
from tests.support.sandboxes import opened, run
from workers.sandbox.base import SandboxUnavailableError
said = {"options": {}}
try:
    opened(SandboxSettings(uid=4711)).close()
except SandboxUnavailableError as error:
    said["uid"] = str(error)
for name, options in {
    "init": {"init": True}, "proc": {"proc": "none"}, "noexec": {"noexec": True}, "spares": {"spares": 0},
    "allowlist": {"network": "allowlist", "allow_domains": ["example.com"]},
}.items():
    with closing(opened(SandboxSettings.model_validate(options))) as sandbox:
        said["options"][name] = run(sandbox, "add", a=1, b=2).content
print(json.dumps(said))
"""


@pytest.mark.parametrize(
    ("settings", "limit", "words"),
    [
        ({"inodes": 64}, {"tool_name": "many_files", "wanted": 200}, "may write 64 MiB and 64 files"),
        ({"open_files": 32}, {"tool_name": "open_many", "wanted": 64}, "may have 32 files open"),
        ({"file_mb": 2}, {"tool_name": "one_file", "megabytes": 4}, "may grow to 2 MiB"),
        ({"stdout_kb": 1}, {"tool_name": "flood", "megabytes": 1, "fails": True}, "bytes cut out here"),
    ],
)
def test_each_limit_is_the_pools(settings: Mapping[str, int], limit: Mapping[str, object], words: str) -> None:
    with closing(opened(SandboxSettings.model_validate(settings))) as sandbox:
        outcome = run(sandbox, **limit)  # type: ignore[arg-type]

    assert outcome.outcome is CallOutcome.FAILED
    assert words in outcome.content


def test_a_result_tells_what_stood_around_its_call() -> None:
    with closing(opened()) as sandbox:
        detail = run(sandbox, "add", a=1, b=2).detail
        failed = run(sandbox, "fail", words="no").detail

    assert set(detail["namespaces"]) == {"user", "pid", "mount", "ipc", "uts", "cgroup", "network"}  # type: ignore[arg-type]
    assert str(detail["seccomp"]).startswith("default:")
    assert detail["cgroup"] in ("v1", "v2", "watch")
    assert detail["network"] == "none"
    assert isinstance(detail["spare"], bool) and detail["preloaded"] is True
    assert (detail["status"], failed["status"]) == ("ok", "tool_error")
    assert isinstance(detail["zygote_age_seconds"], float)


def test_a_folder_that_is_not_there_refuses_the_pool(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailableError, match="does not exist"):
        opened(SandboxSettings(python_path=(str(tmp_path / "missing"),)))
