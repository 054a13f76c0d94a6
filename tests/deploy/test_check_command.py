"""The command deploy/check, in a small project of its own whose tests do as they are told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sandboxes import ROOT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(240)]

DEPLOY = ROOT / "deploy"
SETTINGS = '[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\npythonpath = ["."]\n'
PASSES = "def test_it() -> None:\n    pass\n"
FAILS = "def test_it() -> None:\n    raise AssertionError('the chart is broken')\n"
SKIPS = "import pytest\n\n\n@pytest.mark.skip(reason='needs a cluster')\ndef test_it() -> None:\n    pass\n"
HANDED_OVER = "import sys\n\nprint('the stack is run', *sys.argv[1:])\nsys.exit(7)\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone with this environment, one passing test, and a podman.py that says that it was called."""
    root = tmp_path / "clone"
    (root / "tests" / "deploy").mkdir(parents=True)
    (root / "deploy" / "checking").mkdir(parents=True)
    for name in ("check", "bootstrap.py", "installation.py"):
        shutil.copy(DEPLOY / name, root / "deploy" / name)
    for module in (DEPLOY / "checking").glob("*.py"):
        shutil.copy(module, root / "deploy" / "checking" / module.name)
    (root / "deploy" / "podman.py").write_text(HANDED_OVER)
    (root / "pyproject.toml").write_text(SETTINGS)
    (root / "tests" / "support").symlink_to(ROOT / "tests" / "support")
    (root / "tests" / "deploy" / "test_chart.py").write_text(PASSES)
    (root / ".venv").symlink_to(Path(sys.executable).parents[1])
    for package in ("agent_core", "queues", "workers"):
        (root / package).symlink_to(ROOT / package)
    return root


def check(project: Path, *words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command there. Without a `path` of programs that is given, all programs of this machine are found."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, str(project / "deploy" / "check"), *words],
        env=environment if path is None else {**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def table(said: str) -> dict[str, str]:
    """What the command says of each tool."""
    lines = said.partition("looks at")[2].partition("tests  ")[0].splitlines()[1:]
    return {line[:24].strip(): line[84:].strip() for line in lines if line.strip()}


def test_it_is_executable_and_its_help_is_a_page(project: Path) -> None:
    page = subprocess.run([DEPLOY / "check", "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    for word in ("--allow-missing", "--as-is", "--podman", "exit codes:", "examples:", "bootstrap.py"):
        assert word in page
    assert max(map(len, page.splitlines())) <= 120 and 20 < len(page.splitlines()) < 60


def test_it_says_which_tools_had_a_look(project: Path) -> None:
    done = check(project, "--as-is", "--allow-missing")
    assert done.returncode == 0, done.stdout + done.stderr
    tools = table(done.stdout)
    assert tools["kubernetes-validate"][0].isdigit()
    assert {"helm-python-sdk", "cloudcoil.models.keda", "promtool", "systemd-analyze", "a systemd to boot"} <= set(
        tools
    )
    (counted,) = [line for line in done.stdout.splitlines() if line.startswith("test_chart ")]
    assert counted.split() == ["test_chart", "1", "0", "0"]


def test_a_missing_tool_is_named_and_no_success(project: Path, tmp_path: Path) -> None:
    done = check(project, "--as-is", path=str(tmp_path))
    assert done.returncode == 3
    assert "MISSING (Debian: apt-get install prometheus)" in table(done.stdout)["promtool"]
    last = done.stdout.splitlines()[-1]
    assert "Nothing is wrong with what was looked at" in last and "promtool" in last and "systemd-analyze" in last
    assert check(project, "--as-is", "--allow-missing", path=str(tmp_path)).returncode == 0


def test_what_is_wrong_is_a_failure_whatever_is_missing(project: Path) -> None:
    (project / "tests" / "deploy" / "test_units.py").write_text(FAILS)
    done = check(project, "--as-is", "--allow-missing", "--podman")
    assert done.returncode == 1
    assert "the chart is broken" in done.stdout and "FAILED" in done.stdout.splitlines()[-1]
    assert "the stack is run" not in done.stdout
    (counted,) = [line for line in done.stdout.splitlines() if line.startswith("test_units ")]
    assert counted.split() == ["test_units", "0", "1", "0"]


def test_a_skipped_test_says_why_and_is_no_success(project: Path) -> None:
    (project / "tests" / "deploy" / "test_cluster.py").write_text(SKIPS)
    done = check(project, "--as-is")
    assert done.returncode == 3
    assert "skipped 1 x: needs a cluster" in done.stdout
    assert check(project, "--as-is", "--allow-missing").returncode == 0


def test_what_follows_goes_to_pytest(project: Path) -> None:
    (project / "tests" / "deploy" / "test_units.py").write_text(FAILS)
    done = check(project, "--as-is", "--allow-missing", "-k", "test_chart")
    assert done.returncode == 0 and "every tool had a look" not in done.stdout
    assert check(project, "--as-is", "--allow-missing", "--no-such-option").returncode == 2


def test_podman_is_handed_over_to(project: Path) -> None:
    done = check(project, "--as-is", "--allow-missing", "--podman")
    assert done.returncode == 7 and done.stdout.splitlines()[-1] == "the stack is run"


def test_an_environment_that_is_not_there_is_named(project: Path) -> None:
    (project / ".venv").unlink()
    done = check(project, "--as-is")
    assert done.returncode == 2 and "leave --as-is out" in done.stderr
